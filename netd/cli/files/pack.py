"""Reads files of the caller's disk as a tar archive, in chunks."""

from __future__ import annotations

import os
import stat
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20
_CAPABILITY = "security.capability"
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}


def archive(path: str, name: str) -> Iterator[bytes]:
    """Yield the archive of *path*, with its content if it is a directory, under *name*.  Sockets are left out.

    Raises OSError if a file cannot be read.
    """
    links: dict[tuple[int, int], str] = {}
    for source, member in _walk(path, name):
        yield from member_of(source, member, links)
    yield end()


def members(path: str, name: str, links: dict[tuple[int, int], str]) -> Iterator[bytes]:
    """Yield the members for a folder and its content, which belong to root, under *name*."""
    for source, member in _walk(path, name):
        yield from member_of(source, member, links, as_root=True)


def _walk(path: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield (path, name in the archive), a directory before its content."""
    left = [(path, name)]
    while left:
        source, member = left.pop()
        yield source, member
        if stat.S_ISDIR(os.lstat(source).st_mode):
            names = sorted(os.listdir(source), reverse=True)
            left += [(os.path.join(source, inner), f"{member.rstrip('/')}/{inner}") for inner in names]


def member_of(path: str, name: str, links: dict[tuple[int, int], str], *, as_root: bool = False) -> Iterator[bytes]:
    """Yield one member of an archive; *links* holds the names by inode, *as_root* gives it to root."""
    status = os.lstat(path)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, stat.S_IMODE(status.st_mode), int(status.st_mtime)
    info.uid, info.gid = (0, 0) if as_root else (status.st_uid, status.st_gid)
    if kind == tarfile.SYMTYPE:
        info.linkname = os.readlink(path)
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif kind == tarfile.REGTYPE:
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and links.setdefault(inode, name) is not name:
            info.type, info.linkname = tarfile.LNKTYPE, links[inode]
        else:
            yield from _file(path, info)
            return
    yield _encoded(info)


def _file(path: str, info: tarfile.TarInfo) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        info.size = os.fstat(file.fileno()).st_size
        try:
            value = os.getxattr(file.fileno(), _CAPABILITY)
            info.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": value.decode("utf-8", "surrogateescape")}
        except OSError:
            pass
        yield _encoded(info)
        left = info.size
        while left:
            data = file.read(min(left, _CHUNK)) or bytes(min(left, _CHUNK))  # zeros if the file became shorter
            left -= len(data)
            yield data
        yield bytes(-info.size % tarfile.BLOCKSIZE)


def member_with(name: str, content: bytes) -> bytes:
    """Return a member with a given content."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    return _encoded(info) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def end() -> bytes:
    return bytes(2 * tarfile.BLOCKSIZE)


def _encoded(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
