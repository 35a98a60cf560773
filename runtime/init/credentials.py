"""The last steps before execve: streams, user and groups, capabilities, seccomp, working directory, program.

Shared by a container's first process and by execs.  Runs with the container's files as the root: nothing may be
imported any more, and files are opened only by descriptor or beneath that root.
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
from runtime.init.start_errors import CannotStart
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
"""The descriptor on which a failing execve is reported."""


def open_terminal(devpts: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Create a terminal in the devpts instance whose directory *devpts* is; return (master, slave)."""
    master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=devpts)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = open_slave(master)
    if size:
        set_size(master, *size)
    return master, slave


def open_slave(master: int) -> int:
    """Open the slave of a terminal by TIOCGPTPEER, without a path."""
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def set_size(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


def set_stdio(descriptors: Sequence[int], *, terminal: bool) -> None:
    """Duplicate *descriptors* to 0, 1 and 2; with *terminal*, 0 becomes the controlling terminal."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number, inheritable=True)
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def become_root() -> None:
    """Set uid and gid to 0 in the user namespace, and set the parent-death signal again: a change of ids clears it."""
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)


def set_limits(process: Process) -> None:
    for kind, soft, hard in process.rlimits:
        resource.setrlimit(kind, (soft, hard))


def find_identity(process: Process) -> users.Identity:
    """Look up the user of *process* in the container's /etc/passwd and /etc/group.  Raises CannotStart."""
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
    """Set the OOM score adjustment of this process.  Raises CannotStart where the kernel forbids *wanted*."""
    with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        if int(file.read(16)) == wanted:
            return
        try:
            file.write(str(wanted).encode())
        except PermissionError:
            raise CannotStart(f"no permission to set oom_score_adj to {wanted}: that needs CAP_SYS_RESOURCE") from None


def environment(process: Process, home: str) -> dict[str, str]:
    """Return the environment; the last of equal names wins, and HOME is *home* when it is missing or empty."""
    found = dict(entry.split("=", 1) for entry in process.env if "=" in entry)
    if not found.get("HOME"):
        found["HOME"] = home
    return found


def drop_privileges(process: Process, identity: users.Identity) -> None:
    """Take the identity and the capabilities of *process*, enter its working directory, load its seccomp filter.

    Without no_new_privs, loading a filter needs CAP_SYS_ADMIN, so it is loaded before the capabilities are dropped.
    """
    _chown_stdio(identity)
    _reset(process)
    needs_user = _try_directory(process.cwd)
    if process.seccomp and not process.no_new_privileges:
        linux.load_seccomp(process.seccomp)
    _set_identity(process.capabilities, identity)
    if needs_user:
        _enter_as_user(process.cwd)
    if not os.getcwd().startswith("/"):
        raise CannotStart(f"the working directory {process.cwd} is outside the container", 126)
    if process.no_new_privileges:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if process.seccomp:
            linux.load_seccomp(process.seccomp)


def _try_directory(path: str) -> bool:
    """Enter *path*; return True if root is denied access, which the user may still have (NFS with root_squash)."""
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


def _chown_stdio(identity: users.Identity) -> None:
    """Make the user the owner of its streams, so that it can reopen them; /dev/null, which is shared, stays root's."""
    null = os.makedev(1, 3)
    for number in (0, 1, 2):
        status = os.fstat(number)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == null:
            continue
        try:
            os.fchown(number, identity.uid, status.st_gid if stat.S_ISCHR(status.st_mode) else identity.gid)
        except OSError as problem:
            # EINVAL: an id that the user namespace does not map; _set_ids raises an error that names it.
            if problem.errno not in (errno.EPERM, errno.EROFS, errno.EINVAL):
                raise


def _reset(process: Process) -> None:
    """Set the resource limits and the umask of the process; those of the daemon were inherited."""
    set_limits(process)
    os.umask(process.umask)


def _set_identity(capabilities: int, identity: users.Identity) -> None:
    """Drop the bounding set, set groups, gid and uid in this order, then set the capabilities."""
    for number in range(64):
        if not capabilities >> number & 1:
            try:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
            except OSError as problem:
                if problem.errno != errno.EINVAL:
                    raise
                break  # above the highest capability of this kernel
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    _set_ids(identity)
    linux.prctl(linux.PR_SET_KEEPCAPS, 0)
    held = capabilities if identity.uid == 0 else 0
    linux.capset(held, held, 0)
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)


def _set_ids(identity: users.Identity) -> None:
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
    """Return the path of the program *name*, searched in *path* as execvp does.  Raises CannotStart (126, 127)."""
    if "/" in name:
        return _check_program(name)
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
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


def exec_program(process: Process, identity: users.Identity, errors: int, *, reap: bool = False) -> NoReturn:
    """Drop privileges and execute the program of *process*.

    Errors before execve raise CannotStart, an error of execve is sent on *errors*.  With *reap*, this process stays
    pid 1 and reaps, and the program runs in a child.
    """
    env = environment(process, identity.home)
    drop_privileges(process, identity)
    program = find_program(process.argv[0], env.get("PATH", DEFAULT_PATH))
    linux.prctl(linux.PR_SET_PDEATHSIG, 0)
    if reap:
        cmdline.replace(("/sbin/docker-init", "--", *process.argv))
        reaper.run_as_child(terminal=process.tty)
    execute(program, process.argv, env, errors)


def execute(program: str, argv: Sequence[str], env: dict[str, str], errors: int) -> NoReturn:
    """Execute the program with descriptors 0, 1 and 2 only.  execve closes *errors*, or its error is sent there."""
    if errors != _ERRORS:
        os.dup2(errors, _ERRORS, inheritable=False)
    # Closed now, not by close-on-exec: the path of the program could be a /proc/self/fd path of one of them.
    linux.close_range(_ERRORS + 1)
    try:
        os.execve(program, list(argv), env)
    except OSError as problem:
        code = 127 if problem.errno == errno.ENOENT else 126
        message = f"exec {program}: {_reason(problem)}"
        os.write(_ERRORS, frames.frame(frames.FAILED, frames.pack_failure(code, message)))
    os._exit(127)


def _reason(problem: OSError) -> str:
    """Return the text of an error number in lower case, as Docker prints it."""
    return (problem.strerror or str(problem)).lower()
