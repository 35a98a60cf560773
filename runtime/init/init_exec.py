"""A further process in a running container, from the shim's fork to the start of its program.

It takes the container's control groups first and its namespaces then, all at once and by a descriptor of the
container's first process, so that a reused process id cannot lead it elsewhere.
"""

from __future__ import annotations

import _socket
import errno
import os

from runtime import frames
from runtime.init import credentials
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


def born(channel: _socket.socket, group: cgroups.Group, target: int, process: Process, stdio: list[int]) -> NoReturn:
    """Join the container of the first process *target*, get ready, wait for the word, and run the program."""
    try:
        _live(channel, group, target, process, stdio)
    except credentials.CannotStart as problem:
        _fail(channel, problem.message, problem.code)
    except frames.Broken:
        pass
    except Exception as problem:
        _fail(channel, f"cannot join the container: {problem}", 128)
    os._exit(1)


def _fail(channel: _socket.socket, message: str, code: int) -> None:
    try:
        frames.send(channel, frames.FAILED, frames.pack((code, message)))
    except OSError:
        return


def _live(channel: _socket.socket, group: cgroups.Group, target: int, process: Process, stdio: list[int]) -> None:
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    linux.reset_signals()
    os.umask(0)
    # While /proc is still the host's: the container's could lead the write elsewhere.
    credentials.set_oom_score(process.oom_score_adj)
    if process.root:
        credentials.set_limits(process)  # the container's root may not raise them
    group.join()
    cgroup = group.open_version2()
    _enter(target, _ALL | (linux.CLONE_NEWUSER if process.root else 0))
    os.close(target)
    child = linux.clone(linux.CLONE_PARENT, cgroup)
    if child:
        frames.send(channel, frames.STATE, frames.pack(child))
        os._exit(0)
    if cgroup >= 0:
        os.close(cgroup)
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    os.setsid()
    if process.root:
        credentials.take_root()
    _prepare(channel, process, stdio)


def _enter(target: int, kinds: int) -> None:
    try:
        linux.setns(target, kinds)
    except OSError as problem:
        if problem.errno == errno.ESRCH:
            raise credentials.CannotStart("the container is not running") from None
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
    credentials.take_stdio(stdio, terminal=process.tty)
    identity = credentials.identify(process)
    frames.send(channel, frames.PREPARED, b"", (master,) if master >= 0 else ())
    frames.receive(channel)
    credentials.finish(process, identity, channel.fileno())


def _open_devpts() -> int:
    """Open the container's terminals.  What its root user put there instead is refused: it could act on the host."""
    devpts = _open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    if linux.filesystem_type(devpts) == _DEVPTS:
        return devpts
    raise credentials.CannotStart("/dev/pts of the container holds no terminals")


def _open_null() -> int:
    """Open the container's /dev/null; where its root user put something else there, a pipe that has ended."""
    try:
        # By O_PATH first: opening another device has effects.
        for flags in (os.O_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY):
            null = _open("/dev/null", flags)
            if os.fstat(null).st_rdev != os.makedev(1, 3):
                os.close(null)
                break
            if flags != os.O_PATH:
                os.set_blocking(null, True)
                return null
            os.close(null)
    except credentials.CannotStart:
        pass
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def _open(path: str, flags: int) -> int:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.openat2(root, path, flags, linux.IN_ROOT | linux.NO_SYMLINKS)
    except OSError as problem:
        raise credentials.CannotStart(f"cannot open {path} of the container: {problem.strerror}") from None
    finally:
        os.close(root)
