"""File operations by descriptor, for all access to files that images and containers have written.

A path below such a tree is resolved by openat2 and cannot leave it.  The last component is a name in an open folder and
is not followed: a container can replace it by a symbolic link to a file of the host at any time.
``runtime/kernel/tree.py`` walks whole trees with these functions.  Every function raises OSError.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterable, Iterator

from runtime.kernel import linux

PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags for opening a folder in which names are looked up, and which is not listed."""

_STAY = linux.BENEATH | linux.NO_SYMLINKS | linux.NO_XDEV
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
_FLAGS_IMMUTABLE_APPEND = 0x30

Name = bytes | str
"""One path component; str as returned by os.fsdecode."""


class TooLarge(OSError):
    """The file is larger than the limit of the caller."""


# Opening


def open_in(root: int, path: bytes, flags: int, *, links: bool = True) -> int:
    """Open *path* with *root* as ``/``; with *links* false, a symbolic link in it raises ELOOP."""
    resolve = linux.IN_ROOT | linux.NO_MAGICLINKS | (0 if links else linux.NO_SYMLINKS)
    return linux.openat2(root, os.fsdecode(path or b"."), flags, resolve)


def open_tree_root(path: str | os.PathLike[str]) -> int:
    """Open the root of a tree for listing, by a path that only the daemon can change."""
    return os.open(path, _LISTED)


def open_folder(folder: int, name: Name, *, mounts: bool = False) -> int:
    """Open the folder *name* in *folder* for listing.  Raises EXDEV if it is a mount point, unless *mounts*."""
    return linux.openat2(folder, os.fsdecode(name), _LISTED, _STAY & ~linux.NO_XDEV if mounts else _STAY)


def open_parent(folder: int) -> int:
    """Open the parent of *folder*.  The caller must verify it, unless no process can move folders in the tree."""
    return os.open("..", _LISTED, dir_fd=folder)


def path_below(root: int, folder: int) -> bytes | None:
    """Return the path of the open *folder* below the open *root*, b"" for the root; None if outside or too long."""
    try:
        above, path = (os.fsencode(os.readlink(f"/proc/self/fd/{handle}")) for handle in (root, folder))
    except OSError:
        return None
    if path == above:
        return b""
    return path.removeprefix(above + b"/") if path.startswith(above + b"/") and len(path) < 4096 else None


def open_file(folder: int, name: Name) -> int:
    """Open the regular file *name* in *folder* for reading, without blocking; other files raise EINVAL."""
    handle = os.open(name, _READ, dir_fd=folder)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "not a regular file")


def create(folder: int, name: Name) -> int:
    """Create the file *name* in *folder*, mode 0600, and open it for writing.  Raises FileExistsError."""
    return os.open(name, _CREATE, 0o600, dir_fd=folder)


# Content


def read_path(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of the file *path*, whose last component a container can replace.

    Raises TooLarge above *limit* bytes.
    """
    handle = os.open(path, _READ)
    try:
        return read(handle, limit)
    finally:
        os.close(handle)


def read(handle: int, limit: int) -> bytes:
    """Return the content of an open regular file.  Raises TooLarge above *limit* bytes."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    data = b""
    while len(data) <= limit and (more := os.read(handle, limit + 1 - len(data))):
        data += more
    if len(data) > limit:
        raise TooLarge(errno.EFBIG, f"larger than {limit} bytes")
    return data


def overwrite_path(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the content of the regular file *path*, created if missing; its inode stays."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o644)
    except PermissionError:
        clear_flags(linux.AT_FDCWD, os.fspath(path))
        handle = os.open(path, flags, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        write(handle, data)
        os.ftruncate(handle, len(data))
    finally:
        os.close(handle)


def write(handle: int, data: bytes) -> None:
    """Write all of *data*."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_regions(handle: int, chunks: Iterable[bytes], regions: Iterable[tuple[int, int]], size: int) -> None:
    """Write *chunks*, which are the bytes of the *regions* (offset, size) of a file of *size* bytes, with holes."""
    os.ftruncate(handle, size)
    data = memoryview(b"")
    source = iter(chunks)
    for offset, length in regions:
        position, end = offset, offset + length
        while position < end:
            if not data:
                data = memoryview(next(source))
            written = os.pwrite(handle, data[: end - position], position)
            data = data[written:]
            position += written


def syncfs(handle: int) -> None:
    """Write the file system of *handle* to disk."""
    linux.syncfs(handle)


# Names in a folder


def names(folder: int) -> Iterator[str]:
    """Yield the names in an open folder, in no order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def lstat(folder: int, name: Name) -> os.stat_result | None:
    """Return the status of *name*, not following links; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def link(source: int, name: Name, target: int, new: Name) -> None:
    """Create a hard link; a symbolic link is not followed."""
    os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)


def move_new(source: int, name: Name, target: int, new: Name) -> None:
    """Rename *name* to *new* in *target*.  Raises FileExistsError if *new* exists."""
    linux.renameat2(source, os.fsencode(name), target, os.fsencode(new), linux.RENAME_NOREPLACE)


def move_file(source: int, name: Name, target: int, new: Name) -> None:
    """Move the regular file *name* to *new* in *target*, which does not exist; copied to another file system."""
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with open(open_file(source, name), "rb") as old, open(create(target, new), "wb") as copy:
            while data := old.read(1 << 18):
                copy.write(data)
        os.unlink(name, dir_fd=source)


def chown(folder: int, name: Name, uid: int, gid: int) -> None:
    os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


def chmod(folder: int, name: Name, mode: int) -> None:
    """Set the mode of *name*.  Raises EOPNOTSUPP for a symbolic link."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            raise OSError(errno.EOPNOTSUPP, "a symbolic link has no mode")
        os.chmod(f"/proc/self/fd/{handle}", mode)
    finally:
        os.close(handle)


def utime(folder: int, name: Name, nanoseconds: int) -> None:
    os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=folder, follow_symlinks=False)


def set_time(handle: int, nanoseconds: int) -> None:
    os.utime(handle, ns=(nanoseconds, nanoseconds))


def set_xattr(handle: int, key: str, value: bytes) -> None:
    os.setxattr(handle, key, value)


def xattr_names(handle: int) -> list[str]:
    """Return the names of the attributes of an open file, sorted; none on file systems without attributes."""
    try:
        return sorted(os.listxattr(handle))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []


def get_xattr(handle: int, key: str) -> bytes | None:
    """Return an attribute of an open file; None if it has no such attribute."""
    try:
        return os.getxattr(handle, key)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return None


def path_of(handle: int) -> str:
    """Return the host's path of an open file, without symbolic links."""
    return os.readlink(f"/proc/self/fd/{handle}")


def copy_metadata(source: int, target: int) -> None:
    """Give the open *target* the owner, mode, times, user attributes and file capabilities of the open *source*."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for key in os.listxattr(source):
        if key.startswith("user.") or key == "security.capability":
            try:
                os.setxattr(target, key, os.getxattr(source, key))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
                    raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_owner_and_mode(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give the root of the tree *target* the owner and mode of the root of *source*."""
    model, handle = open_tree_root(source), open_tree_root(target)
    try:
        status = os.fstat(model)
        os.fchown(handle, status.st_uid, status.st_gid)
        os.fchmod(handle, stat.S_IMODE(status.st_mode))
    finally:
        os.close(model)
        os.close(handle)


def clear_flags(folder: int, name: Name) -> None:
    """Clear the immutable and append-only flags (chattr) of a folder or regular file; other files are ignored."""
    status = lstat(folder, name)
    if status is None or not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return
    handle = os.open(name, _READ, dir_fd=folder)
    try:
        clear_flags_of(handle)
    finally:
        os.close(handle)


def clear_flags_of(handle: int) -> None:
    """Do what :func:`clear_flags` does for an open folder or regular file."""
    try:
        (flags,) = struct.unpack("i4x", fcntl.ioctl(handle, _GETFLAGS, bytes(8)))
        if flags & _FLAGS_IMMUTABLE_APPEND:
            fcntl.ioctl(handle, _SETFLAGS, struct.pack("i4x", flags & ~_FLAGS_IMMUTABLE_APPEND))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
