"""Docker's rules for ``cp``: where the archive of a source is extracted, and under which name.  Pure.

A path that ends with ``/.`` names the content of a directory; one that ends with ``/`` must be a directory.
"""

from __future__ import annotations

import posixpath

from netd.cli.errors import Fault


class CopySource:
    """``base`` is the name of the source in its archive."""

    __slots__ = ("base", "is_directory")

    def __init__(self, path: str, is_directory: bool, base: str = "") -> None:
        self.base = base or split(path)[1]
        self.is_directory = is_directory


class CopyTarget:
    __slots__ = ("exists", "is_directory", "path")

    def __init__(self, path: str, exists: bool, is_directory: bool) -> None:
        self.path, self.exists, self.is_directory = path, exists, is_directory


def split_argument(word: str) -> tuple[str, str]:
    """Return (container, path); the container is empty for a path on the caller's disk."""
    container, colon, path = word.partition(":")
    if word.startswith("/") or not colon or container.startswith("."):
        return "", word
    return container, path


def split(path: str) -> tuple[str, str]:
    """Return (directory, last component) of a path; the last component of ``/a/.`` is ``.``, of ``/`` is ``/``."""
    clean = posixpath.normpath(path)
    clean = "/" + clean.lstrip("/") if clean.startswith("/") else clean
    if path.rsplit("/", 1)[-1] == ".":
        return clean, "."
    return posixpath.dirname(clean) or ".", posixpath.basename(clean) or "/"


def place(source: CopySource, target: CopyTarget) -> tuple[str, str]:
    """Return the directory to extract into, and the new name of the source in its archive; empty to keep it.

    Raises Fault with Docker's messages.
    """
    if target.exists and target.is_directory:
        return target.path, ""
    if target.exists and source.is_directory:
        raise Fault("cannot copy directory")
    if not target.exists and not source.is_directory and target.path.endswith(("/", "/.")):
        raise Fault("no such directory")
    return split(target.path)


def renamed(name: str, old: str, new: str) -> str:
    """Return *name*, which begins with the component *old*, with *new* in its place."""
    if not new:
        return name
    old = "" if old == "/" else old
    rest = name.removeprefix("./") if old == "." else name.removeprefix("/")
    if old not in ("", "."):
        rest = rest.removeprefix(old)
    elif rest in (".", ""):
        rest = ""
    rest = rest.lstrip("/")
    return f"{new}/{rest}" if rest else new
