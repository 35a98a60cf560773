"""Creation, entry and removal of network namespaces, by short-lived threads.

A namespace is referred to by the file that it is mounted on, or by a descriptor.  Must not change the namespace of a
long-lived thread: a failed return would leave it in the wrong namespace.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from netd.kernel import sysctl
from netd.kernel.namespaces import libc
from netd.new_thread import in_new_thread as in_new_thread

T = TypeVar("T")


def create(path: Path, prepare: Callable[[], T]) -> T:
    """Create a namespace, run *prepare* in it, mount it on *path*, and return the result of *prepare*.

    The mount is the last step, so that a mounted namespace is complete.
    """
    path.touch()

    def body() -> T:
        libc.unshare(libc.CLONE_NEWNET)
        sysctl.keep_folder()
        prepared = prepare()
        libc.bind_mount("/proc/thread-self/ns/net", str(path))
        return prepared

    return in_new_thread(body)


def adopt(source: Path, path: Path, prepare: Callable[[], T]) -> T:
    """Mount the namespace at *source* on *path* too, after *prepare* has run in it; return its result.

    Raises OSError if it is not a network namespace, or the caller's own.
    """
    if not exists(source) or source.stat().st_ino == os.stat("/proc/self/ns/net").st_ino:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def body() -> T:
        prepared = prepare()
        path.touch()
        libc.bind_mount("/proc/thread-self/ns/net", str(path))
        return prepared

    return run_in(source, body)


def exists(path: str | Path) -> bool:
    """Return whether a namespace is mounted on *path*; a plain file is not."""
    return inode(path) is not None


def inode(path: str | Path) -> int | None:
    """Return the inode of the namespace that is mounted on *path*; None if there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino if found.st_dev == _device() else None


@cache
def _device() -> int:
    """Return the device of the file system of namespaces, which the kernel mounts once."""
    return os.stat("/proc/self/ns/net").st_dev


def enter(path: str | Path) -> None:
    """Move the calling thread, which must be short-lived, into the namespace mounted on *path*."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.setns(fd, libc.CLONE_NEWNET)
    finally:
        os.close(fd)


def run_in(path: Path, body: Callable[[], T]) -> T:
    """Run *body* in the namespace mounted on *path* and return its result; sockets that it opens stay in there."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return run_in_fd(fd, body)
    finally:
        os.close(fd)


def run_in_fd(fd: int, body: Callable[[], T]) -> T:
    """Run *body* in the namespace of the descriptor and return its result."""

    def inside() -> T:
        libc.setns(fd, libc.CLONE_NEWNET)
        sysctl.keep_folder()
        return body()

    return in_new_thread(inside)


def socket_in(fd: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Open a socket in the namespace; it stays there, whatever thread uses it."""
    return run_in_fd(fd, lambda: socket.socket(family, kind, protocol))


def remove(path: Path) -> None:
    """Unmount the namespace and delete *path*; the kernel deletes the namespace after its last process.  Idempotent."""
    try:
        while True:
            libc.detach(str(path))
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    path.unlink(missing_ok=True)
