"""Assembles a container's root from its layers, the root skeleton and the mounts of its configuration.

Runs in the container's future first process or, with a user namespace, in the builder
(:mod:`runtime.init.init_userns`), in the root of :mod:`runtime.init.rootfs_skeleton`.  That process must be in the
container's network namespace when it mounts /sys.  Every target is resolved inside the new root and mounted on as a
descriptor, so links of the image, and containers that replace directories at the same time, cannot redirect a mount.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from runtime.init import mounts, rootfs_skeleton
from runtime.init.start_errors import CannotStart
from runtime.kernel import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.kernel.devices import Node
    from runtime.spec import ContainerSpec, MountSpec

_MASKED_SYS = ("firmware", "devices/virtual/powercap")
_SYSTEM = ("/proc", "/sys", "/dev")
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE = linux.IN_ROOT | linux.NO_MAGICLINKS

PROC_FILES = frozenset(
    f"/proc/{name}" for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime")
)
"""The only files of /proc that may be mounted over, for lxcfs."""

_PROC, _SYSFS, _TMPFS = 0x9FA0, 0x62656572, 0x01021994
_OF_SYS = frozenset({_SYSFS, 0x27E0EB, 0x63677270})
"""Magic numbers of sysfs and of both kinds of control group file system."""


class RootfsError(CannotStart):
    """The root cannot be assembled as configured; the message is shown to the user."""


def assemble(
    spec: ContainerSpec,
    root: int,
    trees: Sequence[int],
    nodes: Sequence[Node],
    wait_for_network: Callable[[], None] | None = None,
) -> None:
    """Mount everything below the detached mount *root*, and make that the root of this process.

    *trees* are the detached sources of the binds in ``spec.mounts``, in order.  *wait_for_network*, if given, is called
    as late as possible before /sys is mounted.
    """
    linux.move_mount(root, linux.AT_FDCWD, "/root")
    covered = {mount.target for mount in spec.mounts}
    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    _move_system(root, covered)
    _own_files(root)
    if wait_for_network is not None:
        wait_for_network()
    _mount_sys(spec, root, covered, null)
    left = list(trees)
    for mount in spec.mounts:
        _mount(root, mount, left)
        if mount.target in _SYSTEM:
            _restrict(spec, root, mount.target, null)
    os.close(null)
    _add_nodes(root, nodes)
    _restrict_paths(root, spec)
    _make_workdir(root, spec.process.cwd)
    if spec.read_only:
        linux.mount_setattr(root, add=linux.ATTR_RDONLY)
    if spec.userns:
        os.fchdir(root)
        rootfs_skeleton.swap_root()  # also the root of the first process, which is in this mount namespace
    else:
        rootfs_skeleton.cover_root(root)
    os.close(root)


def _restrict(spec: ContainerSpec, root: int, target: str, null: int) -> None:
    """Mount what belongs to the container over the host's /proc, /sys or /dev that the user has mounted there."""
    mounted = linux.openat2(root, target, _DIRECTORY, linux.IN_ROOT | linux.NO_MAGICLINKS)
    try:
        if target == "/sys":
            _fill_sys(mounted, null, spec)
        elif target == "/dev":
            _fill_dev(mounted)
        elif not spec.privileged and spec.masked_paths is None:
            rootfs_skeleton.restrict_proc(mounted, null)
    finally:
        os.close(mounted)


def _fill_dev(dev: int) -> None:
    """Move the container's own terminals, shared memory and message queues over those of the host."""
    for name in ("pts", "shm", "mqueue"):
        try:
            target = linux.openat2(dev, name, _DIRECTORY, linux.BENEATH | linux.NO_SYMLINKS)
        except OSError:
            continue  # the host has no such directory
        _move_from_skeleton(f"/dev/{name}", target)
        os.close(target)


def _move_system(root: int, covered: set[str]) -> None:
    """Move /proc and /dev of the skeleton into the root."""
    for name in ("proc", "dev"):
        target = mounts.own_directory(root, name)
        if f"/{name}" not in covered:
            _move_from_skeleton(f"/{name}", target)
        os.close(target)


def _mount_sys(spec: ContainerSpec, root: int, covered: set[str], null: int) -> None:
    """Mount the /sys of this network namespace."""
    target = mounts.own_directory(root, "sys")
    if "/sys" not in covered:
        sysfs = mounts.filesystem("sysfs", mounts.RESTRICTED | (0 if spec.privileged else linux.ATTR_RDONLY))
        linux.move_mount(sysfs, target)
        _fill_sys(sysfs, null, spec)
        os.close(sysfs)
    os.close(target)


def _fill_sys(sysfs: int, null: int, spec: ContainerSpec) -> None:
    if os.path.ismount("/cgroup"):
        target = linux.openat2(sysfs, "fs/cgroup", _DIRECTORY, linux.BENEATH)
        if spec.privileged or spec.writable_cgroups:
            _unprotect_groups()
        _move_from_skeleton("/cgroup", target)
        os.close(target)
    if not spec.privileged and spec.masked_paths is None:
        rootfs_skeleton.mask(sysfs, (*_MASKED_SYS, *_throttles(sysfs)), null)


def _restrict_paths(root: int, spec: ContainerSpec) -> None:
    """Hide and protect the paths of the configuration; symbolic links of the image are resolved inside the root.

    Without these, the default paths of /proc are hidden and protected by the skeleton already.
    """
    if spec.masked_paths:
        null = linux.openat2(root, "dev/null", os.O_PATH, linux.NO_SYMLINKS | linux.BENEATH)
        for path in spec.masked_paths:
            try:
                rootfs_skeleton.mask(root, (path.lstrip("/"),), null, _INSIDE)
            except OSError as problem:
                raise RootfsError(f"cannot hide {path} of MaskedPaths: {problem.strerror}") from None
        os.close(null)
    for path in spec.read_only_paths or ():
        try:
            rootfs_skeleton.protect(root, path.lstrip("/"), resolve=_INSIDE)
        except OSError as problem:
            raise RootfsError(f"cannot protect {path} of ReadonlyPaths: {problem.strerror}") from None


def _unprotect_groups() -> None:
    tree = os.open("/cgroup", _DIRECTORY)
    linux.mount_setattr(tree, clear=linux.ATTR_RDONLY, recursive=True)
    os.close(tree)


def _throttles(sysfs: int) -> list[str]:
    """Return the paths of the per-processor thermal counters, which are a side channel; none on some machines."""
    processors = linux.openat2(sysfs, "devices/system/cpu", os.O_RDONLY | os.O_DIRECTORY, linux.BENEATH)
    try:
        names = [n for n in os.listdir(processors) if n.startswith("cpu") and n[3:].isdigit()]
    finally:
        os.close(processors)
    return [f"devices/system/cpu/{name}/thermal_throttle" for name in names]


def _move_from_skeleton(path: str, target: int) -> None:
    source = os.open(path, _DIRECTORY)
    try:
        linux.move_mount(source, target)
    finally:
        os.close(source)


def _own_files(root: int) -> None:
    """Create /.dockerenv, and the files of /etc that are mounted over, before the user's mounts.

    Links of the image in /etc are replaced.  By /.dockerenv, programs recognize that they run in a container.
    """
    with suppress(FileExistsError):
        os.close(os.open(".dockerenv", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o755, dir_fd=root))
    etc = mounts.own_directory(root, "etc")
    try:
        for name in ("resolv.conf", "hostname", "hosts"):
            os.close(mounts.own_file(etc, name))
        os.symlink("/proc/mounts", "mtab", dir_fd=etc)
    except FileExistsError:
        pass
    finally:
        os.close(etc)


def _mount(root: int, mount: MountSpec, trees: list[int]) -> None:
    tree = -1 if mount.kind == "tmpfs" else trees.pop(0)
    is_directory = tree < 0 or stat.S_ISDIR(os.fstat(tree).st_mode)
    target, mode = _open_target(root, mount, is_directory)
    try:
        _check_target(target, tree, mount)
        if tree < 0:
            tree = mounts.tmpfs(mount.options, f"{mode:o}")
            if mount.read_only:
                linux.mount_setattr(tree, add=linux.ATTR_RDONLY)
        mounts.attach(tree, target)
    finally:
        os.close(target)


def _open_target(root: int, mount: MountSpec, is_directory: bool) -> tuple[int, int]:
    """Return the target, created if missing, and the mode of the image's directory (1777 if there was none)."""
    mode = 0o1777
    try:
        target = linux.openat2(root, mount.target, os.O_PATH, linux.IN_ROOT | linux.NO_MAGICLINKS)
        mode = os.fstat(target).st_mode
    except FileNotFoundError:
        target = _create_target(root, mount, is_directory)
    except OSError as problem:
        raise RootfsError(_unreachable(mount, problem)) from None
    if is_directory != stat.S_ISDIR(os.fstat(target).st_mode):
        raise RootfsError(_unreachable(mount, NotADirectoryError(errno.ENOTDIR, "")))
    return target, mode & 0o7777


def _create_target(root: int, mount: MountSpec, is_directory: bool) -> int:
    try:
        return (mounts.directory_in if is_directory else mounts.file_in)(root, mount.target)
    except OSError as problem:
        raise RootfsError(_unreachable(mount, problem)) from None


def _unreachable(mount: MountSpec, problem: OSError) -> str:
    if problem.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"cannot mount {mount.source or mount.kind} on {mount.target}: not a directory:"
            " are you trying to mount a directory onto a file (or vice-versa)?"
        )
    if problem.errno == errno.EROFS:
        return (
            f"cannot mount {mount.source or mount.kind} on {mount.target}: a read-only mount has no such file or"
            " directory: create it there first, or mount its directory writable"
        )
    return f"cannot mount {mount.source or mount.kind} on {mount.target}: {problem.strerror}"


def _check_target(target: int, tree: int, mount: MountSpec) -> None:
    """Raise RootfsError for a mount over /proc or /sys that is not allowed.

    Allowed are the whole /proc of the host over /proc, PROC_FILES, parts of the host's /sys over /sys, and a tmpfs on
    /sys/fs/cgroup.
    """
    target_type = linux.filesystem_type(target)
    if mount.target == "/proc" and tree >= 0 and linux.filesystem_type(tree) == _PROC and os.fstat(tree).st_ino == 1:
        return
    if (target_type == _PROC or mount.target == "/proc") and mount.target not in PROC_FILES:
        raise RootfsError(f"cannot mount on {mount.target}: nothing may be mounted over /proc")
    if target_type in _OF_SYS or mount.target == "/sys":
        kind = linux.filesystem_type(tree) if tree >= 0 else _TMPFS
        if kind not in _OF_SYS and not (kind == _TMPFS and mount.target == "/sys/fs/cgroup"):
            raise RootfsError(f"cannot mount on {mount.target}: only parts of the host's /sys may be mounted over /sys")


def _add_nodes(root: int, nodes: Sequence[Node]) -> None:
    dev = linux.openat2(root, "dev", os.O_PATH | os.O_DIRECTORY, linux.NO_SYMLINKS | linux.BENEATH)
    own = {os.fstat(descriptor).st_dev for descriptor in (root, dev)}
    os.close(dev)
    for path, mode, number in nodes:
        try:
            directory = mounts.directory_in(root, os.path.dirname(path))
        except OSError as problem:
            raise RootfsError(f"cannot make the device {path}: {problem.strerror}") from None
        try:
            _add_node(directory, path, stat.S_IFMT(mode) | 0o666, number, replace=os.fstat(directory).st_dev in own)
        finally:
            os.close(directory)


def _add_node(directory: int, path: str, mode: int, number: int, *, replace: bool) -> None:
    """Create the node.  With *replace*, a file of that name is replaced; otherwise it must be the same device.

    *replace* is false below a mount of the user's, where files of the host would be replaced.
    """
    name = os.path.basename(path)
    try:
        os.mknod(name, mode, number, dir_fd=directory)
        return
    except FileExistsError:
        existing = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as problem:
        raise RootfsError(f"cannot make the device {path}: {problem.strerror}") from None
    if stat.S_IFMT(existing.st_mode) == stat.S_IFMT(mode) and existing.st_rdev == number:
        return
    if not replace or stat.S_ISDIR(existing.st_mode):
        raise RootfsError(f"cannot make the device {path}: a different file exists there, choose another path")
    os.unlink(name, dir_fd=directory)
    os.mknod(name, mode, number, dir_fd=directory)


def _make_workdir(root: int, path: str) -> None:
    try:
        os.close(mounts.directory_in(root, path))
    except NotADirectoryError:
        raise RootfsError(f"the working directory {path} is not a directory") from None
    except OSError as problem:
        raise RootfsError(f"cannot make the working directory {path}: {problem.strerror}") from None
