"""Digests of files and trees for the build cache: contents, modes, links, attributes and owners; not times."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence

from netd.path_patterns import Pattern
from runtime.build.files import plain_walk
from runtime.build.files.source_selection import Source
from runtime.images import tar_writer
from runtime.kernel import openat

_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def of_source(root: int, source: Source, exclude: Sequence[Pattern] = (), *, owners: bool) -> str:
    """Return a digest of *source* in the tree *root*; *owners*: whether they count."""
    if source.is_folder:
        handle = openat.open_in(root, os.fsencode(source.path), _FOLDER)
        try:
            return f"dir:{_tree(handle, exclude, owners)}"
        finally:
            os.close(handle)
    return f"file:{_resolved_file(root, source.path, owners)}"


def _resolved_file(root: int, path: str, owners: bool) -> str:
    """Return the digest of what *path* leads to, links resolved within the tree."""
    handle = openat.open_in(root, os.fsencode(path), os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return _digest(_described(status, owners))
    finally:
        os.close(handle)
    handle = openat.open_in(root, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return _digest(_described(status, owners), content(handle))
    finally:
        os.close(handle)


def _tree(root: int, exclude: Sequence[Pattern], owners: bool) -> str:
    """Return a digest that does not depend on the order in which the file system lists names."""
    entries: list[bytes] = []
    for visit in plain_walk.walk(root, exclude):
        if visit.kind == "leave" or visit.excluded:
            continue
        entries.append(bytes.fromhex(_digest(visit.path, _described(visit.status, owners), _data(visit))))
    entries.sort()
    total = hashlib.sha256(_described(os.fstat(root), owners).encode())
    for entry in entries:
        total.update(entry)
    return total.hexdigest()


def _data(visit: plain_walk.Visit) -> str:
    if stat.S_ISLNK(visit.status.st_mode):
        return os.fsdecode(os.readlink(visit.name, dir_fd=visit.folder))
    if visit.kind == "enter":
        return _attributes(visit.inner)
    if not stat.S_ISREG(visit.status.st_mode):
        return ""
    handle = openat.open_file(visit.folder, visit.name)
    try:
        return content(handle) + _attributes(handle)
    finally:
        os.close(handle)


def _described(status: os.stat_result, owners: bool) -> str:
    owner = f"{status.st_uid}:{status.st_gid}" if owners else ""
    # The mode of a link has no meaning, and devices have a number.
    mode = stat.S_IFMT(status.st_mode) if stat.S_ISLNK(status.st_mode) else status.st_mode
    return f"{mode:o} {status.st_rdev if not stat.S_ISREG(status.st_mode) else 0} {owner}"


def _attributes(handle: int) -> str:
    found = tar_writer.xattrs(handle)
    return "".join(f"\0{key}\0{value.hex()}" for key, value in sorted(found.items()))


def content(handle: int) -> str:
    """Return the SHA-256 of the rest of an open file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while data := os.read(handle, _CHUNK):
        digest.update(data)
    return digest.hexdigest()


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = os.fsencode(part)
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
