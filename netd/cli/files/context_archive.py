"""The build context as a tar archive: a folder without what ``.dockerignore`` excludes."""

from __future__ import annotations

import os
import stat

from netd import path_patterns
from netd.cli import signal_waits
from netd.cli.errors import Fault
from netd.cli.files import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netd.path_patterns import Pattern

_IGNORE = ".dockerignore"
_LARGEST = 4 << 20
_ARCHIVE_MARKS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_USTAR = slice(257, 262)


class ContextArchive:
    """``dockerfile`` is the name of the Dockerfile in the archive."""

    __slots__ = ("_given", "_ignore", "_patterns", "dockerfile", "folder")

    def __init__(self, folder: str, dockerfile: str, given: bytes | None = None) -> None:
        """*dockerfile* is a path on the disk, ``-`` for standard input, or empty for the one in the folder.

        *given* is the content of a Dockerfile that is no file.
        Raises Fault if the folder or the Dockerfile cannot be read, or if the ignore file is invalid.
        """
        if not os.path.isdir(folder):
            raise Fault(f"unable to prepare context: path {folder!r} not found: name a folder, or - for an archive")
        self.folder = folder
        self._given: bytes | None = None
        path = dockerfile or os.path.join(folder, "Dockerfile")
        inside = given is None and dockerfile != "-" and _inside(folder, path)
        if inside:
            self.dockerfile = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
            if not os.path.exists(path):
                raise _missing(path)
        else:
            from secrets import token_hex

            self.dockerfile = f".dockerfile.{token_hex(10)}"
            self._given = _read_given(path) if given is None else given
        self._ignore = self._read_ignore(path)
        try:
            self._patterns: Sequence[Pattern] = path_patterns.read_ignore_file(self._ignore)
        except path_patterns.PatternError as error:
            raise Fault(f"error reading {_IGNORE}: {error}") from None

    def _read_ignore(self, dockerfile: str) -> bytes:
        paths = [os.path.join(self.folder, _IGNORE)]
        if dockerfile != "-":
            paths.insert(0, f"{dockerfile}{_IGNORE}")
        for path in paths:
            try:
                with open(path, "rb") as file:
                    return file.read(path_patterns.LARGEST_FILE + 1)
            except FileNotFoundError:
                continue
        return b""

    def chunks(self, more: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """Yield the archive; *more* are further folders by their names in it.  Raises OSError."""
        links: dict[tuple[int, int], str] = {}
        if self._given is not None:
            # The daemon deletes the file after reading it, because the ignore file names it.
            yield pack.member_with(self.dockerfile, self._given)
            yield pack.member_with(_IGNORE, self._ignore + b"\n" + self.dockerfile.encode() + b"\n")
        for path, name in self._files():
            if self._given is None or name != _IGNORE:
                yield from pack.member_of(path, name, links, as_root=True)
        for name, folder in (more or {}).items():
            yield from pack.members(folder, name, links)
        yield pack.end()

    def _files(self) -> Iterator[tuple[str, str]]:
        """Yield (path, name in the archive) of what is not excluded; the daemon needs the files with instructions."""
        kept = {self.dockerfile, f"{self.dockerfile}{_IGNORE}", _IGNORE}
        again = path_patterns.includes_again(self._patterns)
        left = [(self.folder, "")]
        while left:
            folder, above = left.pop()
            for entry in sorted(os.listdir(folder), reverse=True):
                path, name = os.path.join(folder, entry), f"{above}{entry}"
                excluded = path_patterns.excludes(self._patterns, name)
                is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
                leads_to_kept = any(wanted.startswith(f"{name}/") for wanted in kept)
                if not excluded or name in kept:
                    yield path, name
                if is_folder and (not excluded or again or leads_to_kept):
                    left.append((path, f"{name}/"))


def _inside(folder: str, path: str) -> bool:
    top = os.path.realpath(folder)
    return os.path.commonpath([top, os.path.realpath(path)]) == top


def _read_given(path: str) -> bytes:
    try:
        if path == "-":
            return _read(0)
        with open(path, "rb") as file:
            return file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: str) -> Fault:
    return Fault(f"unable to prepare context: the Dockerfile {path!r} cannot be found: name it with --file")


def _read(descriptor: int) -> bytes:
    data = b""
    while len(data) <= _LARGEST and (more := signal_waits.read(descriptor, 1 << 16)):
        data += more
    return data


def from_standard_input() -> Iterator[bytes]:
    """Yield the archive on standard input; a text there is a Dockerfile without any other files."""
    first = b""
    while len(first) < 512 and (more := signal_waits.read(0, 512 - len(first))):
        first += more
    if first.startswith(_ARCHIVE_MARKS) or first[_USTAR] == b"ustar":
        yield first
        while more := signal_waits.read(0, 1 << 18):
            yield more
        return
    yield pack.member_with("Dockerfile", first + _read(0))
    yield pack.end()
