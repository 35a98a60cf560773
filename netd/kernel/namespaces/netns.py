"""Network namespaces: made, entered and let go by threads that end at once.

A namespace is a file that it is mounted on, or a descriptor of that.  No thread that is kept ever
changes its namespace, so there is no way back to get wrong.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from netd.kernel.namespaces import libc

T = TypeVar("T")


def in_fresh_thread(body: Callable[[], T]) -> T:
    """Return what *body* returns, run in a thread of its own that ends with it."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(body())
        except BaseException as problem:
            outcome.set_exception(problem)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    return outcome.result()


def create(path: Path, prepare: Callable[[], None]) -> None:
    """Make a namespace, run *prepare* in it and mount it on *path*.

    The mount comes last: a namespace that can be seen is complete.
    """
    path.touch()

    def body() -> None:
        libc.unshare(libc.CLONE_NEWNET)
        prepare()
        libc.bind_mount("/proc/thread-self/ns/net", str(path))

    in_fresh_thread(body)


def take(source: Path, path: Path, prepare: Callable[[], None]) -> None:
    """Mount the namespace at *source* on *path* too, after *prepare* has run in it.

    Raises OSError when it is no network namespace, or the caller's own.
    """
    if not exists(source) or source.stat().st_ino == os.stat("/proc/self/ns/net").st_ino:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def body() -> None:
        prepare()
        path.touch()
        libc.bind_mount("/proc/thread-self/ns/net", str(path))

    run_in(source, body)


def exists(path: Path) -> bool:
    """Whether a namespace is mounted on *path*, not merely a file there."""
    try:
        return path.stat().st_dev == os.stat("/proc/self/ns/net").st_dev
    except (FileNotFoundError, NotADirectoryError):
        return False


def run_in(path: Path, body: Callable[[], T]) -> T:
    """Return what *body* returns, run inside the namespace mounted on *path*; sockets it opens stay in there."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return run_in_fd(fd, body)
    finally:
        os.close(fd)


def run_in_fd(fd: int, body: Callable[[], T]) -> T:
    """The same for a namespace known by its descriptor."""

    def inside() -> T:
        libc.setns(fd, libc.CLONE_NEWNET)
        return body()

    return in_fresh_thread(inside)


def socket_in(fd: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Open a socket inside the namespace; it stays there wherever it is used."""
    return run_in_fd(fd, lambda: socket.socket(family, kind, protocol))


def remove(path: Path) -> None:
    """Let go of the namespace and free *path*; the kernel ends it with its last process.  May be repeated."""
    try:
        while True:
            libc.detach(str(path))
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    path.unlink(missing_ok=True)
