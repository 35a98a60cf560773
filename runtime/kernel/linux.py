"""System calls that Python 3.11 does not have, by ctypes.

Contains numbers and structures only: no policy, no paths.  Imported by the zygote, so it imports few modules.  A system
call that fails raises OSError with the kernel's error number, except in :func:`exit_status`.

Needs Linux 5.12 (mount_setattr).  The numbers used are those of x86_64; from 424 on they are the same everywhere.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWTIME = 0x80
CLONE_FS = 0x200
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

MS_RDONLY = 1
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

ATTR_RDONLY = 1
ATTR_NOSUID = 2
ATTR_NODEV = 4
ATTR_NOEXEC = 8
ATTR_STRICTATIME = 0x20
ATTR_IDMAP = 0x100000

NO_XDEV = 1
NO_MAGICLINKS = 2
NO_SYMLINKS = 4
BENEATH = 8
IN_ROOT = 0x10

RENAME_NOREPLACE = 1

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

_RT_SIGACTION, _RT_SIGPROCMASK = 13, 14
_SETFSUID, _SETFSGID = 122, 123
_PIVOT_ROOT, _GETDENTS, _KEYCTL, _RENAMEAT2, _CLOSE_RANGE = 155, 217, 250, 316, 436
_BPF, _OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 321, 428, 429, 430, 431, 432
_CLONE3, _OPENAT2, _MOUNT_SETATTR = 435, 437, 442

_NO_SETUID_FIXUP = 1 << 2

_INFO_SIZE = 64
_INFO_EXIT = 8

_libc = ctypes.CDLL(None, use_errno=True)
# Keeps the global interpreter lock during the call, so that the child of a clone has a consistent interpreter.
_locked = ctypes.PyDLL(None, use_errno=True)


def _call(name: str, function: ctypes._NamedFuncPointer, *arguments: int | bytes | None) -> int:
    wrapped = [ctypes.c_char_p(a) if isinstance(a, bytes) or a is None else ctypes.c_long(a) for a in arguments]
    result: int = function(*wrapped)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _syscall(name: str, number: int, *arguments: int | bytes | None) -> int:
    return _call(name, _libc.syscall, number, *arguments)


def unshare(flags: int) -> None:
    _call("unshare", _libc.unshare, flags)


def setns(descriptor: int, flags: int) -> None:
    _call("setns", _libc.setns, descriptor, flags)


def clone(flags: int, cgroup: int = -1) -> int:
    """Fork with *flags*, into the version 2 control group of the descriptor *cgroup*; return 0 in the child.

    Only for a process with a single thread: the thread handling of ``os.fork`` is skipped.
    """
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    arguments = struct.pack("11Q", flags, 0, 0, 0, 0 if flags & CLONE_PARENT else 17, 0, 0, 0, 0, 0, max(cgroup, 0))
    return _call("clone3", _locked.syscall, _CLONE3, arguments, len(arguments))


def prctl(option: int, *values: int | bytes) -> int:
    return _call("prctl", _libc.prctl, option, *values, *([0] * (4 - len(values))))


def close_range(first: int, last: int = 0xFFFFFFFF, *, cloexec: bool = False) -> None:
    _syscall("close_range", _CLOSE_RANGE, first, last, 4 if cloexec else 0)


def close_others(*descriptors: int) -> None:
    """Close all descriptors above 2 except *descriptors*."""
    kept = sorted({2, *(d for d in descriptors if d > 2)})
    for low, high in zip(kept, [*kept[1:], 0x80000000], strict=True):
        if low + 1 < high:
            close_range(low + 1, high - 1)


def detach_stdio() -> None:
    """Replace standard input, output and error by an eventfd.

    A container that the process enters could otherwise reach the daemon's log.
    """
    placeholder = os.eventfd(0)
    for number in (0, 1, 2):
        os.dup2(placeholder, number)
    os.close(placeholder)


def reset_signals() -> None:
    """Set every signal to its default action and unblock all: execve keeps signals ignored that Python ignores.

    By system calls, because the C library reserves two signals.
    """
    for number in range(1, 65):
        if number not in (9, 19):
            _syscall("rt_sigaction", _RT_SIGACTION, number, bytes(32), None, 8)
    _syscall("rt_sigprocmask", _RT_SIGPROCMASK, 2, bytes(8), None, 8)


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open *path* under *directory* as *resolve* allows; close-on-exec."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    while True:
        try:
            return _syscall("openat2", _OPENAT2, directory, os.fsencode(path), how, len(how))
        except BlockingIOError:  # EAGAIN: a rename raced with the resolution of ".."
            continue


def renameat2(source: int, name: bytes, target: int, new: bytes, flags: int) -> None:
    _syscall("renameat2", _RENAMEAT2, source, name, target, new, flags)


def getdents(directory: int, space: ctypes.Array[ctypes.c_char]) -> int:
    """Read linux_dirent64 records from the offset of *directory* into *space*; return their size, 0 at the end."""
    return _syscall("getdents64", _GETDENTS, directory, address(space), len(space))


def syncfs(descriptor: int) -> None:
    _call("syncfs", _libc.syncfs, descriptor)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    names = [os.fsencode(text) for text in (source, target, kind)]
    _call("mount", _libc.mount, *names, flags, os.fsencode(data))


def umount(target: str, flags: int = 0) -> None:
    _call("umount", _libc.umount2, os.fsencode(target), flags)


def pivot_root(new: str, old: str) -> None:
    _syscall("pivot_root", _PIVOT_ROOT, os.fsencode(new), os.fsencode(old))


def sethostname(name: str) -> None:
    data = name.encode()
    _call("sethostname", _libc.sethostname, data, len(data))


def setdomainname(name: str) -> None:
    data = name.encode()
    _call("setdomainname", _libc.setdomainname, data, len(data))


def open_tree(directory: int, path: str, *, recursive: bool = True) -> int:
    """Return a detached copy of the mount at *path*, or of *directory* itself if *path* is empty."""
    flags = 1 | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return _syscall("open_tree", _OPEN_TREE, directory, os.fsencode(path), flags)


def move_mount(tree: int, directory: int, path: str = "", *, source: str = "") -> None:
    """Attach *tree*, or move the mount at *source* below it, to *path* in *directory*, or to *directory* itself."""
    flags = (0 if source else 4) | (0 if path else 0x40)
    _syscall("move_mount", _MOVE_MOUNT, tree, os.fsencode(source), directory, os.fsencode(path), flags)


def mount_setattr(tree: int, *, add: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False) -> None:
    attributes = struct.pack("QQQQ", add, clear, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _syscall("mount_setattr", _MOUNT_SETATTR, tree, b"", flags, attributes, len(attributes))


def idmap_mount(tree: int, user_namespace: int, *, recursive: bool = False) -> None:
    """Make the detached mount *tree* idmapped by the user namespace.

    Files created through it are stored under the ids inside the namespace.  Raises OSError: EINVAL if the file system
    does not support idmapped mounts (Linux 5.12, overlay layers 5.19, tmpfs 6.3).
    """
    attributes = struct.pack("QQQQ", ATTR_IDMAP, 0, 0, user_namespace)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _syscall("mount_setattr", _MOUNT_SETATTR, tree, b"", flags, attributes, len(attributes))


def act_as(number: int) -> None:
    """Set the effective user and group id to *number*, and keep every capability.

    Files created from now on belong to it.  The real and saved ids stay, so that processes of that user can neither
    signal nor trace this one.
    """
    prctl(PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
    os.setresgid(-1, number, -1)
    os.setresuid(-1, number, -1)


def set_file_owner(number: int) -> None:
    """Let files that this thread creates belong to user and group *number*; it keeps every capability."""
    prctl(PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
    _syscall("setfsgid", _SETFSGID, number)
    _syscall("setfsuid", _SETFSUID, number)


def fsopen(kind: str) -> int:
    return _syscall(f"fsopen {kind}", _FSOPEN, kind.encode(), 1)


def fsconfig_string(context: int, key: str, value: str) -> None:
    _syscall(f"fsconfig {key}", _FSCONFIG, context, 1, key.encode(), os.fsencode(value), 0)


def fsconfig_flag(context: int, key: str) -> None:
    _syscall(f"fsconfig {key}", _FSCONFIG, context, 0, key.encode(), None, 0)


def fsconfig_create(context: int) -> None:
    _syscall("fsconfig create", _FSCONFIG, context, 6, None, None, 0)


def fsmount(context: int, attributes: int) -> int:
    return _syscall("fsmount", _FSMOUNT, context, 1, attributes)


def exit_status(pidfd: int) -> int | None:
    """Return the wait status of a reaped process (PIDFD_GET_INFO); None on kernels before 6.15."""
    found = ctypes.create_string_buffer(struct.pack("Q", _INFO_EXIT).ljust(_INFO_SIZE, b"\0"), _INFO_SIZE)
    try:
        _call("ioctl", _libc.ioctl, pidfd, 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11, address(found))
    except OSError:
        return None
    mask: int = struct.unpack_from("Q", found)[0]
    status: int = struct.unpack_from("i", found, _INFO_SIZE - 4)[0]
    return status if mask & _INFO_EXIT else None


def filesystem_type(descriptor: int) -> int:
    """Return the magic number of the file system of an open file (linux/magic.h)."""
    found = ctypes.create_string_buffer(256)
    _call("fstatfs", _libc.fstatfs, descriptor, address(found))
    magic: int = struct.unpack_from("q", found)[0]
    return magic & 0xFFFFFFFF


def bpf(command: int, attributes: bytes) -> int:
    return _syscall("bpf", _BPF, command, attributes, len(attributes))


def address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Return a copy of *data* at an address that is valid as long as the object is referenced."""
    return ctypes.create_string_buffer(data, len(data))


def join_session_keyring() -> None:
    """Join a new, empty session keyring, so that the container cannot read keys of the host.

    It has no name: with a name, the kernel would join an existing keyring, which a container could have created.
    """
    _syscall("keyctl", _KEYCTL, 1, None)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    low = [value & 0xFFFFFFFF for value in (effective, permitted, inheritable)]
    high = [value >> 32 for value in (effective, permitted, inheritable)]
    _call("capset", _libc.capset, struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *low, *high))


def load_seccomp(program: bytes) -> None:
    """Load the classic BPF *program* as seccomp filter of this thread and its children."""
    code = buffer(program)
    filter_program = struct.pack("HxxxxxxQ", len(program) // 8, address(code))
    prctl(PR_SET_SECCOMP, 2, filter_program)
