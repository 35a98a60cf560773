"""The process of an exec, from the setup process's fork to the execve of its program.

It joins the container's control groups, then all namespaces at once by a pidfd of the container's first process, so
that a reused process id cannot select another container.
"""

from __future__ import annotations

import _socket
import errno
import os

from runtime import frames
from runtime.init import credentials, start_errors
from runtime.kernel import cgroups, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runtime.spec import Process

_ALL = (
    linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWNET
    | linux.CLONE_NEWCGROUP
)  # fmt: skip
_DEVPTS = 0x1CD1


def run(channel: _socket.socket, group: cgroups.Group, target: int, process: Process, stdio: list[int]) -> NoReturn:
    """Join the container whose first process is *target*, a pidfd; send PREPARED, wait for START, run the program.

    *stdio* holds three descriptors; the first is -1 for /dev/null, and all are ignored with a terminal.
    """
    start_errors.run_reporting(channel, lambda: _set_up(channel, group, target, process, stdio), "join the container")


def _set_up(channel: _socket.socket, group: cgroups.Group, target: int, process: Process, stdio: list[int]) -> None:
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    linux.reset_signals()
    os.umask(0)
    # Before the namespaces are joined: in the container, another file could be mounted over the one in /proc.
    credentials.set_oom_score(process.oom_score_adj)
    if process.root:
        credentials.set_limits(process)  # the container's root has no permission to raise them
    group.join()
    cgroup = group.open_version2()
    _enter(target, _ALL | (linux.CLONE_NEWUSER if process.root else 0))
    os.close(target)
    child = linux.clone(linux.CLONE_PARENT, cgroup)
    if child:
        frames.send(channel, frames.CHILD_PID, frames.pack(child))
        os._exit(0)
    if cgroup >= 0:
        os.close(cgroup)
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    os.setsid()
    if process.root:
        credentials.become_root()
    _prepare(channel, process, stdio)


def _enter(target: int, flags: int) -> None:
    try:
        linux.setns(target, flags)
    except OSError as problem:
        if problem.errno == errno.ESRCH:
            raise start_errors.CannotStart("the container is not running") from None
        raise
    try:
        linux.setns(target, linux.CLONE_NEWTIME)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # a kernel without time namespaces
            raise


def _prepare(channel: _socket.socket, process: Process, stdio: list[int]) -> None:
    linux.join_session_keyring()
    master = -1
    if process.tty:
        devpts = _open_devpts()
        master, slave = credentials.open_terminal(devpts, process.console_size)
        stdio = [slave, slave, slave]
        os.close(devpts)
    elif stdio[0] < 0:
        stdio[0] = _open_null()
    credentials.set_stdio(stdio, terminal=process.tty)
    identity = credentials.find_identity(process)
    frames.send(channel, frames.PREPARED, b"", (master,) if master >= 0 else ())
    frames.receive(channel)
    credentials.exec_program(process, identity, channel.fileno())


def _open_devpts() -> int:
    """Open the container's devpts.  Raises CannotStart for another file system, whose ioctls could affect the host."""
    devpts = _open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    if linux.filesystem_type(devpts) == _DEVPTS:
        return devpts
    raise start_errors.CannotStart("/dev/pts of the container holds no terminals")


def _open_null() -> int:
    """Open the container's /dev/null; if its root user has replaced that, return a pipe whose other end is closed."""
    try:
        # Checked by O_PATH first, because opening another device can have effects.
        for flags in (os.O_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY):
            null = _open("/dev/null", flags)
            if os.fstat(null).st_rdev != os.makedev(1, 3):
                os.close(null)
                break
            if flags != os.O_PATH:
                os.set_blocking(null, True)
                return null
            os.close(null)
    except start_errors.CannotStart:
        pass
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def _open(path: str, flags: int) -> int:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.openat2(root, path, flags, linux.IN_ROOT | linux.NO_SYMLINKS)
    except OSError as problem:
        raise start_errors.CannotStart(f"cannot open {path} of the container: {problem.strerror}") from None
    finally:
        os.close(root)
