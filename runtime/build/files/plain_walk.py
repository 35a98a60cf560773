"""Walks a source tree with relative paths, leaving out what patterns exclude."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netd import path_patterns
from netd.common.errors import BadRequest
from netd.path_patterns import Pattern
from runtime.images.layer_files import is_whiteout
from runtime.kernel import openat, tree

_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Visit:
    """A step of a walk.  ``folder`` contains ``name``; of a folder, ``inner`` is its open descriptor."""

    kind: str
    """``enter``, ``leave`` or ``file``."""
    path: str
    """Below the root of the walk."""
    folder: int
    name: bytes
    inner: int
    status: os.stat_result
    excluded: bool = False
    """A folder that is excluded, but whose content may be included again."""


def walk(root: int, exclude: Sequence[Pattern] = (), prefix: str = "") -> Iterator[Visit]:
    """Yield the files and folders below the open folder *root*.

    *exclude* is matched against *prefix* + path.  Folders that are excluded are walked only if a pattern can include
    what is in them.  The descriptors of a step are open until the next step is requested.
    """
    again = path_patterns.includes_again(exclude)
    path: list[str] = []
    skipped = 0
    length = 0
    for step in tree.walk(root):
        if step.kind == "leave":
            if skipped:
                skipped -= 1
                continue
            relative = "/".join(path)
            name = path.pop()
            length -= len(name) + 1
            yield Visit("leave", relative, step.folder, os.fsencode(name), step.inner, os.fstat(step.inner))
            continue
        if skipped:
            skipped += step.kind == "enter"
            continue
        name = os.fsdecode(step.name)
        relative = "/".join([*path, name])
        excluded = bool(exclude) and path_patterns.excludes(exclude, prefix + relative)
        if step.kind == "file":
            status = openat.lstat(step.folder, step.name)
            if not excluded and status is not None and not is_whiteout(status):
                yield Visit("file", relative, step.folder, step.name, -1, status)
            continue
        if excluded and not again:
            skipped = 1
            continue
        path.append(name)
        length += len(name) + 1
        if length > _LONGEST:
            raise BadRequest("folders are nested deeper than a build can copy: make the tree flatter")
        yield Visit("enter", relative, step.folder, step.name, step.inner, os.fstat(step.inner), excluded)
