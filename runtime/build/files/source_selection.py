"""Finds the sources of COPY, ADD and bind mounts in a tree: paths with wildcards, links resolved within the tree."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from netd import path_patterns
from netd.common.errors import BadRequest
from netd.path_patterns import Component, PatternError
from runtime.build.dockerfile.faults import shortened
from runtime.kernel import openat

_WILDCARDS = frozenset("*?[\\")
_MOST_MATCHES = 100_000
_DEEPEST = 128


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder to copy; ``path`` is below the root of its tree, "" for the root itself."""

    path: str
    is_folder: bool

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)


class NotInTree(BadRequest):
    """A source does not exist, or is outside of the tree."""


def select(root: int, text: str, *, in_context: bool) -> list[Source]:
    """Return what *text* names in the tree *root*, in the order of the names.

    Raises NotInTree if a path without wildcards does not exist, or leaves the build context.
    """
    path = _normalized(text, in_context)
    if not _WILDCARDS & set(path):
        return [_single(root, path, text, in_context)]
    try:
        components = path_patterns.compile_pattern(path)
    except PatternError as error:
        raise BadRequest(f"{error}") from None
    words = posixpath.normpath(path).lstrip("/").split("/")
    return [_single(root, found, text, in_context) for found in _matches(root, words, components)]


def single(root: int, text: str, *, in_context: bool) -> Source:
    """Return the file or folder at the path *text*, in which wildcards have no meaning.  Raises NotInTree."""
    return _single(root, _normalized(text, in_context), text, in_context)


def _normalized(text: str, in_context: bool) -> str:
    path = posixpath.normpath(text.lstrip("/")) if text else "."
    if path == ".." or path.startswith("../"):
        if in_context:
            raise NotInTree(f"forbidden path outside the build context: {shortened(text)} ()")
        path = posixpath.normpath("/" + path).lstrip("/") or "."
    return "" if path == "." else path


def _single(root: int, path: str, text: str, in_context: bool) -> Source:
    try:
        handle = openat.open_in(root, os.fsencode(path), os.O_PATH | os.O_CLOEXEC)
    except OSError:
        if in_context:
            raise NotInTree(
                "file not found in build context or excluded by .dockerignore: stat"
                f" {shortened(text.lstrip('/'))}: file does not exist"
            ) from None
        raise NotInTree(f"stat {shortened(text)}: file does not exist") from None
    try:
        return Source(path, stat.S_ISDIR(os.fstat(handle).st_mode))
    finally:
        os.close(handle)


def _matches(root: int, words: list[str], components: tuple[Component, ...]) -> list[str]:
    found = [""]
    for word, component in zip(_without_repeats(words), components, strict=True):
        if component is None:
            found = [below for path in found for below in (path, *_folders_below(root, path))]
        elif _WILDCARDS & set(word):
            found = [
                posixpath.join(path, name) for path in found for name in _names(root, path) if component.fullmatch(name)
            ]
        else:
            found = [posixpath.join(path, word) for path in found if _exists(root, posixpath.join(path, word))]
        if len(found) > _MOST_MATCHES:
            raise BadRequest(f"{shortened('/'.join(words))} matches more than {_MOST_MATCHES} files")
    return sorted(set(found))


def _without_repeats(words: list[str]) -> list[str]:
    """Drop ``**`` that follow each other, as the compiled pattern does."""
    return [word for at, word in enumerate(words) if word != "**" or at == 0 or words[at - 1] != "**"]


def _names(root: int, path: str) -> list[str]:
    try:
        folder = openat.open_in(root, os.fsencode(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return sorted(openat.names(folder))
    finally:
        os.close(folder)


def _exists(root: int, path: str) -> bool:
    try:
        os.close(openat.open_in(root, os.fsencode(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _folders_below(root: int, path: str) -> Iterator[str]:
    """Yield the folders below *path*, without following links."""
    pending = [(path, 0)]
    while pending:
        above, depth = pending.pop()
        for name in _names(root, above):
            inner = posixpath.join(above, name)
            if depth < _DEEPEST and _is_plain_folder(root, inner):
                yield inner
                pending.append((inner, depth + 1))


def _is_plain_folder(root: int, path: str) -> bool:
    try:
        handle = openat.open_in(root, os.fsencode(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISDIR(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
