"""Writes tar archives of trees that images and containers have written: deterministic, by descriptor.

The same tree gives the same bytes: names in the order of their bytes, whole seconds, no names of owners.  Format:
ustar, with a pax header for what ustar cannot hold (long names, names that are not ASCII, large numbers, attributes),
as Docker writes it.  Sockets are left out.  Archives of overlay's upper folders contain whiteouts (``.wh.NAME``,
``.wh..wh..opq``).  Memory is bounded by the largest folder and the number of hard links.

For layers of containers, ``export``, ``cp``, and archives of images.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.images.layer_files import OPAQUE, is_whiteout
from runtime.images.tarstream import BLOCK
from runtime.kernel import openat, sorted_tree
from runtime.kernel.sorted_tree import Found

CHUNK = 1 << 18
END = bytes(2 * BLOCK)
"""The end of an archive."""
_XATTR = "SCHILY.xattr."
_LARGEST_OCTAL = {8: 0o7777777, 12: 0o77777777777}
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "directory": b"5", "fifo": b"6"}
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "fifo",
}
_REDIRECT, _METACOPY = "trusted.overlay.redirect", "trusted.overlay.metacopy"
_REPLACED = frozenset({errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO})
"""Errors of a file that was deleted or replaced by another kind of file concurrently; it is left out."""


class Sink(Protocol):
    """Takes the bytes of an archive in order.  A sink that keeps a tar recipe distinguishes the two methods."""

    def write(self, data: bytes, /) -> object:
        """Take headers and padding."""

    def write_content(self, path: bytes, handle: int, size: int, /) -> object:
        """Take exactly *size* bytes of the open regular file *handle*, which is *path* in the tree."""


class FileSink:
    """Writes an archive to a file or to anything else with ``write``."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def write(self, data: bytes) -> None:
        self._target.write(data)

    def write_content(self, path: bytes, handle: int, size: int) -> None:
        for chunk in content(handle, size):
            self._target.write(chunk)


class Target(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The metadata of one member."""

    path: bytes
    kind: str
    """A key of :data:`_TYPES`; ``file``, ``directory``, …"""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    """Seconds since 1970."""
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the member's headers, with a pax header first if ustar cannot hold the values."""
        name = self.path + b"/" if self.kind == "directory" and not self.path.endswith(b"/") else self.path
        extended: dict[str, bytes] = {f"{_XATTR}{key}": value for key, value in self.xattrs.items()}
        if not _fits(name):
            extended["path"] = name
        if not _fits(self.link):
            extended["linkpath"] = self.link
        for key, value, width in (("uid", self.uid, 8), ("gid", self.gid, 8), ("size", self.size, 12)):
            if value > _LARGEST_OCTAL[width]:
                extended[key] = b"%d" % value
        if not 0 <= self.mtime <= _LARGEST_OCTAL[12]:
            extended["mtime"] = b"%d" % self.mtime
        block = self._ustar(name)
        return _pax(extended, self.path) + block if extended else block

    def _ustar(self, name: bytes) -> bytes:
        fields = [
            _text(name, 100),
            _octal(self.mode, 8),
            _octal(self.uid, 8),
            _octal(self.gid, 8),
            _octal(self.size, 12),
            _octal(self.mtime, 12),
            b" " * 8,
            _TYPES[self.kind],
            _text(self.link, 100),
            b"ustar\x0000",
            bytes(64),
            _octal(self.device[0], 8),
            _octal(self.device[1], 8),
        ]
        block = b"".join(fields).ljust(BLOCK, b"\0")
        return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _fits(text: bytes) -> bool:
    return len(text) <= 100 and text.isascii()


def _text(text: bytes, width: int) -> bytes:
    """Return *text* cut to *width*; not ASCII characters are replaced, because the pax header holds the real text."""
    return bytes(byte if byte < 0x80 else 0x5F for byte in text[:width]).ljust(width, b"\0")


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value if 0 <= value <= _LARGEST_OCTAL[width] else 0)


def _pax(extended: Mapping[str, bytes], path: bytes) -> bytes:
    data = b"".join(_record(key.encode("utf-8", "surrogateescape"), extended[key]) for key in sorted(extended))
    name = b"PaxHeaders.0/" + path.rsplit(b"/", 1)[-1]
    header = Header(path=name[:100], kind="file", size=len(data))._ustar(name[:100])
    header = header[:156] + b"x" + header[157:]
    header = header[:148] + b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32) + header[156:]
    return header + data + bytes(-len(data) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH key=value\\n``, where LENGTH counts its own digits."""
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest))
    size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)


def content(handle: int, size: int) -> Iterator[bytes]:
    """Yield exactly *size* bytes of an open file: the rest of a file that became shorter is zeros, as in Docker."""
    left = size
    while left:
        data = os.read(handle, min(left, CHUNK))
        if not data:
            data = bytes(min(left, CHUNK))
        left -= len(data)
        yield data


class TreeWriter:
    """Writes trees to a sink.  Hard links are found by inode, within all trees of one writer."""

    def __init__(self, sink: Sink, *, whiteouts: bool = False, first_id: int = 0) -> None:
        """With *whiteouts*, the trees are upper folders of overlayfs: character devices 0:0 and opaque marks of folders
        become whiteouts.  *first_id* is the id in the trees that is 0 in the archive."""
        self._first_id = first_id
        self._sink = sink
        self._whiteouts = whiteouts
        self._links: dict[tuple[int, int], bytes] = {}
        self.size = 0
        """Bytes of all files written."""

    def tree(
        self, root: int, prefix: bytes = b"", *, mounts: bool = False, omit: Container[bytes] = frozenset()
    ) -> None:
        """Write everything below the open folder *root*, under the names *prefix* + path; not the root itself.

        Mount points are entered only with *mounts*.  *omit* are paths that are left out; if a folder is among them,
        then all paths below it are.
        """
        for found in sorted_tree.walk(root, mounts=mounts):
            if found.path not in omit:
                self.file(found, prefix + found.path)

    def whole(self, root: int, *, with_root: bool = False, omit: Container[bytes] = frozenset()) -> int:
        """Write a complete archive of the open folder *root*, with an entry of the root itself if *with_root*.

        Return the number of bytes of its files.
        """
        if with_root:
            self.folder(root, b".")
        self.tree(root, omit=omit)
        self.end()
        return self.size

    def folder(self, handle: int, path: bytes) -> None:
        """Write the open folder itself, without its content, as *path*."""
        self._sink.write(self._header(os.fstat(handle), path, "directory", xattrs(handle)).encode())

    def file(self, found: Found, path: bytes) -> None:
        """Write one file found in a walk as *path*; of a folder only its metadata."""
        if found.is_folder:
            self._folder(found, path)
        elif self._whiteouts and is_whiteout(found.status):
            above, _, name = path.rpartition(b"/")
            self._empty(found.status, (above + b"/" if above else b"") + b".wh." + name)
        elif first := self._link(found, path):
            self._sink.write(self._header(found.status, path, "hardlink", {}, link=first).encode())
        elif stat.S_ISREG(found.status.st_mode):
            self._regular(found, path)
        elif kind := _KINDS.get(stat.S_IFMT(found.status.st_mode)):
            target = os.fsencode(os.readlink(found.name, dir_fd=found.folder)) if kind == "symlink" else b""
            self._sink.write(self._header(found.status, path, kind, {}, link=target).encode())

    def end(self) -> None:
        """Write the end of the archive."""
        self._sink.write(END)

    def _folder(self, found: Found, path: bytes) -> None:
        if self._whiteouts and found.inner >= 0:
            _check_complete(found.inner, _REDIRECT, path)
        kept = xattrs(found.inner) if found.inner >= 0 else {}
        self._sink.write(self._header(found.status, path, "directory", kept).encode())
        if self._whiteouts and found.inner >= 0 and openat.get_xattr(found.inner, OPAQUE) == b"y":
            self._empty(found.status, path + b"/.wh..wh..opq")

    def _empty(self, status: os.stat_result, path: bytes) -> None:
        header = Header(path=path, kind="file", mode=0o600, mtime=int(status.st_mtime_ns // 10**9))
        self._sink.write(header.encode())

    def _link(self, found: Found, path: bytes) -> bytes:
        """Return the path of an earlier link to the same file, or b"" after recording this one."""
        if found.status.st_nlink < 2 or stat.S_ISSOCK(found.status.st_mode):
            return b""
        key = (found.status.st_dev, found.status.st_ino)
        first = self._links.setdefault(key, path)
        return b"" if first is path else first

    def _regular(self, found: Found, path: bytes) -> None:
        try:
            handle = openat.open_file(found.folder, found.name)
        except OSError as error:
            if error.errno not in _REPLACED:
                raise
            return
        try:
            if self._whiteouts:
                _check_complete(handle, _METACOPY, path)
            status = os.fstat(handle)
            self._sink.write(self._header(status, path, "file", xattrs(handle), size=status.st_size).encode())
            if status.st_size:
                self._sink.write_content(found.path, handle, status.st_size)
                self._sink.write(bytes(-status.st_size % BLOCK))
            self.size += status.st_size
        finally:
            os.close(handle)

    def _header(
        self,
        status: os.stat_result,
        path: bytes,
        kind: str,
        kept: Mapping[str, bytes],
        *,
        link: bytes = b"",
        size: int = 0,
    ) -> Header:
        is_device = kind in ("char", "block")
        return Header(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=max(status.st_uid - self._first_id, 0),
            gid=max(status.st_gid - self._first_id, 0),
            size=size,
            mtime=int(status.st_mtime_ns // 10**9),
            link=link,
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
            xattrs=kept,
        )


def _check_complete(handle: int, mark: str, path: bytes) -> None:
    """Raise an error for a file of an upper folder whose content is that of another path of the lower layers."""
    if openat.get_xattr(handle, mark) is not None:
        raise OSError(
            errno.EOPNOTSUPP,
            "overlayfs keeps a reference to a lower layer here; unset its options redirect_dir and metacopy",
            path[:200],
        )


def xattrs(handle: int) -> dict[str, bytes]:
    """Return the attributes of an open file that a layer keeps: those of users and file capabilities."""
    return {
        key: value
        for key in openat.xattr_names(handle)
        if (key.startswith("user.") and not key.startswith("user.overlay.")) or key == "security.capability"
        if (value := openat.get_xattr(handle, key)) is not None
    }
