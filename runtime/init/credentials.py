"""The last steps of a process on its way into a container: who it is, what it may do, and its program.

Shared by a container's first process and by exec's.  Everything here runs where the container's files are the root,
so nothing may be imported any more, and nothing is opened but by descriptor or beneath that root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import struct
import termios

from runtime import frames
from runtime.init import reaper, users
from runtime.kernel import cmdline, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runtime.spec import Process

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431
_ERRORS = 3


class CannotStart(Exception):
    """The process cannot be started: a sentence, and the exit code that Docker gives it."""

    def __init__(self, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def open_terminal(devpts: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return (master, slave) of a new terminal of the devpts instance with the directory *devpts*."""
    master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=devpts)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = open_slave(master)
    if size:
        set_size(master, *size)
    return master, slave


def open_slave(master: int) -> int:
    """Return the other end of a terminal, found by the kernel rather than by a path."""
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def set_size(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


def take_stdio(descriptors: Sequence[int], *, terminal: bool) -> None:
    """Make *descriptors* 0, 1 and 2; a terminal becomes the controlling one."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number, inheritable=True)
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def take_root() -> None:
    """Become root of the user namespace that was entered; be killed with the parent still."""
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)


def set_limits(process: Process) -> None:
    for kind, soft, hard in process.rlimits:
        resource.setrlimit(kind, (soft, hard))


def identify(process: Process) -> users.Identity:
    """Look up the user in the container's files.  Raises CannotStart."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return users.lookup(process.user, process.group_add, root)
    except users.UnknownUser as problem:
        raise CannotStart(str(problem), 125) from None
    finally:
        os.close(root)


def enter_directory(path: str) -> None:
    """Change to *path* without following links out of the root.  Raises OSError."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = linux.openat2(root, path, os.O_PATH | os.O_DIRECTORY, linux.IN_ROOT | linux.NO_MAGICLINKS)
    finally:
        os.close(root)
    os.fchdir(found)
    os.close(found)


def set_oom_score(wanted: int) -> None:
    """Take the score of the container, not ours.  Raises CannotStart for one that we are not allowed to give."""
    with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        if int(file.read(16)) == wanted:
            return
        try:
            file.write(str(wanted).encode())
        except PermissionError:
            raise CannotStart(f"no permission to set oom_score_adj to {wanted}: that needs CAP_SYS_RESOURCE") from None


def environment(process: Process, home: str) -> dict[str, str]:
    """Return the environment, the last of equal names winning, with HOME added when it is missing or empty."""
    found = dict(entry.split("=", 1) for entry in process.env if "=" in entry)
    if not found.get("HOME"):
        found["HOME"] = home
    return found


def drop_privileges(process: Process, identity: users.Identity) -> None:
    """Become the user with the capabilities of *process*, and enter its directory.

    Without no_new_privs a seccomp filter can only be loaded while we still have CAP_SYS_ADMIN, so it comes first then.
    """
    _own_stdio(identity)
    _reset(process)
    waiting = _try_directory(process.cwd)
    if process.seccomp and not process.no_new_privileges:
        linux.load_seccomp(process.seccomp)
    _change_identity(process.capabilities, identity)
    if waiting:
        _enter_as_user(process.cwd)
    if not os.getcwd().startswith("/"):
        raise CannotStart(f"the working directory {process.cwd} is outside the container", 126)
    if process.no_new_privileges:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if process.seccomp:
            linux.load_seccomp(process.seccomp)


def _try_directory(path: str) -> bool:
    """Enter *path*; return whether only the user may (a directory on a file system that does not trust root)."""
    try:
        enter_directory(path)
    except PermissionError:
        return True
    except OSError as problem:
        raise CannotStart(f'chdir to cwd ("{path}") set in config.json failed: {_reason(problem)}', 127) from None
    return False


def _enter_as_user(path: str) -> None:
    try:
        enter_directory(path)
    except OSError as problem:
        raise CannotStart(f'chdir to cwd ("{path}") set in config.json failed: {_reason(problem)}', 126) from None


def _own_stdio(identity: users.Identity) -> None:
    """Let the user reopen its streams; /dev/null is shared by all and stays root's."""
    null = os.makedev(1, 3)
    for number in (0, 1, 2):
        status = os.fstat(number)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == null:
            continue
        try:
            os.fchown(number, identity.uid, status.st_gid if stat.S_ISCHR(status.st_mode) else identity.gid)
        except OSError as problem:
            # EINVAL: a number that the user namespace does not map, which _take_ids refuses by name.
            if problem.errno not in (errno.EPERM, errno.EROFS, errno.EINVAL):
                raise


def _reset(process: Process) -> None:
    """Undo what the process inherited from us: limits, umask."""
    set_limits(process)
    os.umask(0o022)


def _change_identity(capabilities: int, identity: users.Identity) -> None:
    """Drop the bounding set, take groups, gid, uid in this order, then set the capabilities."""
    for number in range(64):
        if not capabilities >> number & 1:
            try:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
            except OSError as problem:
                if problem.errno != errno.EINVAL:
                    raise
                break  # beyond the kernel's last
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    _take_ids(identity)
    linux.prctl(linux.PR_SET_KEEPCAPS, 0)
    held = capabilities if identity.uid == 0 else 0
    linux.capset(held, held, 0)
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)


def _take_ids(identity: users.Identity) -> None:
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        groups = ", ".join(map(str, identity.groups))
        raise CannotStart(
            f"user {identity.uid} or one of its groups {groups} does not exist in the user namespace of the container:"
            " use smaller numbers",
            125,
        ) from None


def find_program(name: str, path: str) -> str:
    """Return the file to run for *name*, searched in *path* as a shell does.  Raises CannotStart (126, 127)."""
    if "/" in name:
        return _check_program(name)
    for directory in path.split(":"):
        place = f"{directory or '.'}/{name}"
        if os.access(place, os.X_OK) and not os.path.isdir(place):
            return place
    raise CannotStart(f'exec: "{name}": executable file not found in $PATH', 127)


def _check_program(name: str) -> str:
    try:
        status = os.stat(name)
    except OSError as problem:
        code = 127 if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else 126
        raise CannotStart(f'exec: "{name}": stat {name}: {_reason(problem)}', code) from None
    if stat.S_ISDIR(status.st_mode):
        raise CannotStart(f'exec: "{name}": is a directory', 126)
    if not os.access(name, os.X_OK):
        raise CannotStart(f'exec: "{name}": permission denied', 126)
    return name


def finish(process: Process, identity: users.Identity, errors: int, *, reap: bool = False) -> NoReturn:
    """Turn into the program of *process*.  Raises CannotStart while *errors* is still open."""
    env = environment(process, identity.home)
    drop_privileges(process, identity)
    program = find_program(process.argv[0], env.get("PATH", DEFAULT_PATH))
    linux.prctl(linux.PR_SET_PDEATHSIG, 0)
    if reap:
        cmdline.replace(("/sbin/docker-init", "--", *process.argv))
        reaper.run_as_child(terminal=process.tty)
    execute(program, process.argv, env, errors)


def execute(program: str, argv: Sequence[str], env: dict[str, str], errors: int) -> NoReturn:
    """Run the program with descriptors 0, 1 and 2 only; *errors* is closed by its start, or carries why not."""
    if errors != _ERRORS:
        os.dup2(errors, _ERRORS, inheritable=False)
    # Closed, not marked: the path that is executed could name one of them.
    linux.close_range(_ERRORS + 1)
    try:
        os.execve(program, list(argv), env)
    except OSError as problem:
        code = 127 if problem.errno == errno.ENOENT else 126
        message = f"exec {program}: {_reason(problem)}"
        os.write(_ERRORS, frames.frame(frames.FAILED, frames.pack((code, message))))
    os._exit(127)


def _reason(problem: OSError) -> str:
    """Return the kernel's reason in Docker's spelling."""
    return (problem.strerror or str(problem)).lower()
