"""The build context: the client's archive, unpacked into a folder that only the daemon can access.

The archive is hostile: :mod:`runtime.images.unpack` bounds it and keeps it inside the folder.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from netd import path_patterns
from netd.common.errors import BadRequest
from netd.path_patterns import Pattern, PatternError
from runtime.build.dockerfile.faults import shortened
from runtime.build.dockerfile.logical_lines import LARGEST
from runtime.build.files import plain_walk, source_selection, tree_digest
from runtime.build.files.plain_archive import PlainArchive
from runtime.build.files.source_selection import Source
from runtime.images.decompress import Inflated
from runtime.images.unpack import unpack
from runtime.kernel import openat, tree

_IGNORE = ".dockerignore"


class BuildContext:
    """An unpacked context.  ``folder`` may be mounted read-only into containers, and is never changed after loading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = openat.open_tree_root(folder)
        self._digests: dict[tuple[Source, tuple[str, ...]], str] = {}

    @property
    def root(self) -> int:
        return self._root

    def close(self) -> None:
        os.close(self._root)

    def load(self, archive: BinaryIO) -> None:
        """Unpack the context.  Raises BadArchive, or OSError if writing fails."""
        stream = PlainArchive(Inflated(archive), (0, 0))
        unpack(stream, self._root, private_root=False)
        stream.drain()

    def read_dockerfile(self, name: str) -> bytes:
        """Return the Dockerfile.  Raises BadRequest with Docker's message if there is none."""
        path = posixpath.normpath(posixpath.join("/", name)).lstrip("/")
        data = self._read(path, LARGEST + 1)
        if data is None and name == "Dockerfile":
            data = self._read("dockerfile", LARGEST + 1)
        if data is None:
            raise BadRequest(f"Cannot locate specified Dockerfile: {shortened(name)}")
        return data

    def apply_ignore_file(self, dockerfile: str) -> None:
        """Delete what ``DOCKERFILE.dockerignore`` or ``.dockerignore`` excludes.  Raises BadRequest."""
        path = posixpath.normpath(posixpath.join("/", dockerfile)).lstrip("/")
        data = self._read(f"{path}{_IGNORE}", path_patterns.LARGEST_FILE + 1)
        if data is None:
            data = self._read(_IGNORE, path_patterns.LARGEST_FILE + 1)
        if data is None:
            return
        try:
            patterns = path_patterns.read_ignore_file(data)
        except PatternError as error:
            raise BadRequest(f"error reading {_IGNORE}: {error}") from None
        if patterns:
            self._delete_excluded(patterns)

    def digest(self, source: Source, exclude: Sequence[str], patterns: Sequence[Pattern]) -> str:
        """Return the digest of a source, computed once.  Owners do not count: files of the context belong to root."""
        key = (source, tuple(exclude))
        if key not in self._digests:
            self._digests[key] = tree_digest.of_source(self._root, source, patterns, owners=False)
        return self._digests[key]

    def resolved(self, text: str) -> str:
        """Return the host's path of a source, without links, to be mounted.  Raises NotInTree."""
        source = source_selection.single(self._root, text, in_context=True)
        handle = openat.open_in(self._root, os.fsencode(source.path), os.O_PATH | os.O_CLOEXEC)
        try:
            return openat.path_of(handle)
        finally:
            os.close(handle)

    def _read(self, path: str, limit: int) -> bytes | None:
        """Return the content of a regular file of the context; None if there is none."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            probe = openat.open_in(self._root, os.fsencode(path), os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(probe).st_mode):
                return None
        finally:
            os.close(probe)
        handle = openat.open_in(self._root, os.fsencode(path), flags)
        try:
            return openat.read(handle, limit)
        except openat.TooLarge:
            raise BadRequest(f"{shortened(path)} of the build context is larger than {limit} bytes") from None
        finally:
            os.close(handle)

    def _delete_excluded(self, patterns: Sequence[Pattern]) -> None:
        again = path_patterns.includes_again(patterns)
        excluded = [path for path, is_excluded in self._paths(patterns, again) if is_excluded]
        for path in excluded:
            self._delete(path)

    def _paths(self, patterns: Sequence[Pattern], again: bool) -> list[tuple[str, bool]]:
        """Return the files, and the folders whose content is excluded as a whole, with whether they are excluded."""
        found: list[tuple[str, bool]] = []
        within = ""
        for visit in plain_walk.walk(self._root):
            if visit.kind == "leave" or (within and visit.path.startswith(within)):
                continue
            excluded = path_patterns.excludes(patterns, visit.path)
            if visit.kind == "enter":
                within = f"{visit.path}/" if excluded and not again else ""
                if within:
                    found.append((visit.path, True))
            else:
                found.append((visit.path, excluded))
        return found

    def _delete(self, path: str) -> None:
        above, name = posixpath.split(path)
        folder = openat.open_in(self._root, os.fsencode(above), openat.PARENT, links=False)
        try:
            tree.remove(folder, name)
        finally:
            os.close(folder)
