"""Extracts an archive from a container into a directory of the caller's disk.

A container has chosen names, links and kinds, so every component below the directory is opened by descriptor and no
symbolic link is followed, also if the archive has created it.  Devices are left out, and setuid and setgid bits unless
owners are kept.
"""

from __future__ import annotations

import os
import stat
import tarfile

from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Reader:
    """The archive as a file to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def extract(
    chunks: Iterable[bytes],
    directory: str,
    rename: Callable[[str], str],
    *,
    owners: bool = False,
    warn: Callable[[str], None],
) -> None:
    """Extract the archive into *directory*; *rename* gives the name of each member.

    With *owners*, files get the user and group ids of the archive.  *warn* gets a line for each file that is left out.
    Raises Fault for an archive that is not allowed, OSError.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    extraction = _Extraction(top, directory, owners, warn)
    try:
        reader = _Reader(chunks)
        with tarfile.open(fileobj=reader, mode="r|", bufsize=_CHUNK, errorlevel=1) as archive:  # type: ignore[call-overload]
            for member in archive:
                extraction.member(archive, member, rename)
        while reader.read(_CHUNK):
            pass  # what follows the end of the archive
        extraction.set_times()
    except tarfile.TarError as error:
        raise Fault(f"the archive cannot be read: {error}") from None
    finally:
        extraction.close()
        os.close(top)


class _Extraction:
    def __init__(self, top: int, shown: str, owners: bool, warn: Callable[[str], None]) -> None:
        self._top = top
        self._shown = shown
        self._owners = owners
        self._warn = warn
        self._folder: tuple[tuple[str, ...], int] | None = None
        self._times: dict[tuple[str, ...], float] = {}

    def member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, rename: Callable[[str], str]) -> None:
        parts = _parts(rename(member.name))
        if not parts:
            return
        folder, name = self._open(parts[:-1]), parts[-1]
        if member.ischr() or member.isblk():
            self._warn(f"{member.name} is a device and was not copied")
            return
        self._make_room(folder, name, member.isdir())
        if member.isdir():
            self._directory(folder, name, member)
            self._times[parts] = member.mtime
        elif member.isreg():
            self._file(folder, name, archive, member)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=folder)
            self._own(member, name, folder)
        elif member.islnk():
            self._link(folder, name, _parts(rename(member.linkname)))
        elif member.isfifo():
            self._fifo(folder, name, member)

    def close(self) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None

    def set_times(self) -> None:
        """Set the times of directories, which change when files are created in them."""
        for parts, moment in reversed(self._times.items()):
            os.utime(self._open(parts), (moment, moment))

    def _open(self, parts: tuple[str, ...]) -> int:
        """Open a directory below the top, created with its parents if missing."""
        if self._folder is None or self._folder[0] != parts:
            self.close()
            self._folder = (parts, self._walk(parts))
        return self._folder[1]

    def _walk(self, parts: Iterable[str]) -> int:
        folder = os.dup(self._top)
        for part in parts:
            try:
                inner = _open_folder(folder, part)
            finally:
                os.close(folder)
            folder = inner
        return folder

    def _make_room(self, folder: int, name: str, is_directory: bool) -> None:
        try:
            was = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(was.st_mode) and not is_directory:
            raise Fault(f'cannot overwrite directory "{name}" with non-directory "{self._shown}"')
        if is_directory and not stat.S_ISDIR(was.st_mode):
            raise Fault(f'cannot overwrite non-directory "{name}" with directory "{self._shown}"')
        if not is_directory:
            os.unlink(name, dir_fd=folder)

    def _directory(self, folder: int, name: str, member: tarfile.TarInfo) -> None:
        handle = _open_folder(folder, name)
        try:
            self._set_metadata(handle, member)
        finally:
            os.close(handle)

    def _file(self, folder: int, name: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        handle = os.open(name, _CREATE, 0o600, dir_fd=folder)
        try:
            for data in _content(archive, member):
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
            self._set_metadata(handle, member)
            os.utime(handle, (member.mtime, member.mtime))
        finally:
            os.close(handle)

    def _fifo(self, folder: int, name: str, member: tarfile.TarInfo) -> None:
        before = os.umask(0)
        os.mkfifo(name, member.mode & 0o777, dir_fd=folder)
        os.umask(before)
        self._own(member, name, folder)

    def _link(self, folder: int, name: str, target: tuple[str, ...]) -> None:
        if not target:
            raise Fault("the archive has a hard link to its root")
        source = self._walk(target[:-1])
        try:
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)

    def _set_metadata(self, handle: int, member: tarfile.TarInfo) -> None:
        if self._owners:
            os.fchown(handle, member.uid, member.gid)
        os.fchmod(handle, member.mode & (0o7777 if self._owners else 0o1777))

    def _own(self, member: tarfile.TarInfo, name: str, folder: int) -> None:
        if self._owners:
            os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)


def _open_folder(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)
    except (NotADirectoryError, OSError):
        raise Fault(f"{name} is no directory, but the archive has files in it") from None


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Fault(f"the archive has a name that leaves its root: {name[:200]!r}")
    return parts


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = archive.fileobj  # positioned at the content, and advanced past it by the next member
    left = member.size
    while stream is not None and left:
        data = stream.read(min(left, _CHUNK))
        if not data:
            raise Fault("the archive is cut short")
        left -= len(data)
        yield data
