"""The parts of a root that are the same for all containers: created ahead of time, moved into the root at the start.

The future first process, or the builder (:mod:`runtime.init.init_userns`), which does it at the start, creates them on
an empty tmpfs, to which it has changed its root, in the namespaces of the container:

    /proc    procfs of the new process namespace, masked              /dev     devices, terminals, shared memory
    /cgroup  the container's own control groups, read-only            /root    mount point of the container's root

No mount of the host remains in the namespace, so an idle process keeps no file system of the host busy.
"""

from __future__ import annotations

import os
import stat

from runtime.init import mounts
from runtime.kernel import cgroups, devices, linux

MASKED_PROC = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list",
    "timer_stats",
)  # fmt: skip
READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")

SHM_SIZE = 64 << 20
"""Bytes of /dev/shm unless a container asks for another size."""

_TTY_GROUP = 5
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def enter(group: cgroups.Group | None, *, root: int = 0) -> None:
    """Change to an empty root with /dev, and with /cgroup if *group* has version 1 directories.

    *root* is the host's id of the container's user and group 0.
    """
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    binds = _own_groups(group) if group else []
    top = mounts.filesystem("tmpfs", 0, [("mode", "700")])
    linux.move_mount(top, linux.AT_FDCWD, "/")
    os.fchdir(top)
    os.close(top)
    swap_root()
    for name in ("root", "dev", "proc", "cgroup"):
        os.mkdir("/" + name, 0o755)
    _make_dev(root)
    if binds:
        _make_cgroup(binds)


def swap_root() -> None:
    """Make the current directory, a mount, the root, and detach the old root."""
    linux.pivot_root(".", ".")
    linux.umount(".", linux.MNT_DETACH)
    os.chdir("/")


def cover_root(root: int) -> None:
    """Make the mount *root* the root of this process: the topmost mount on the root of its mount namespace.

    Not by pivot_root, for which the kernel visits every thread of the host.  The skeleton stays below *root*, as the
    kernel's rootfs does below that: an empty file system of this container alone.
    """
    linux.move_mount(root, linux.AT_FDCWD, "/")
    os.fchdir(root)
    os.chroot(".")


def make_proc(*, masked: bool = True) -> None:
    """Mount procfs of the caller's process namespace on /proc; with *masked*, hide or protect paths of the host."""
    _mount_at(mounts.filesystem("proc", mounts.RESTRICTED), "/proc")
    if not masked:
        return
    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    proc = os.open("/proc", _DIRECTORY)
    restrict_proc(proc, null)
    os.close(null)
    os.close(proc)


def restrict_proc(proc: int, null: int) -> None:
    """Hide or protect paths of the host in the procfs mounted at *proc*."""
    mask(proc, MASKED_PROC, null)
    for name in READ_ONLY_PROC:
        protect(proc, name, mounts.RESTRICTED)


_STRICT = linux.NO_SYMLINKS | linux.BENEATH


def mask(directory: int, names: tuple[str, ...], null: int, resolve: int = _STRICT) -> None:
    """Hide *names* below *directory*: *null* is mounted over files, an empty read-only tmpfs over directories.

    *resolve* are the flags of openat2 with which *names* are resolved.
    """
    empty = -1
    for name in names:
        try:
            target = linux.openat2(directory, name, os.O_PATH, resolve)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            mounts.attach(linux.open_tree(null, "", recursive=False), target)
        elif empty < 0:
            options = [("nr_blocks", "1"), ("nr_inodes", "1"), ("mode", "755")]
            empty = mounts.filesystem("tmpfs", mounts.RESTRICTED | linux.ATTR_RDONLY, options)
            linux.move_mount(empty, target)
        else:
            mounts.attach(linux.open_tree(empty, "", recursive=False), target)
        os.close(target)
    if empty >= 0:
        os.close(empty)


def resize_shm(size: int) -> None:
    """Mount /dev/shm again with *size* bytes; remove it if *size* is 0."""
    linux.umount("/dev/shm")
    if size:
        _mount_at(_shm(size), "/dev/shm")
    else:
        os.rmdir("/dev/shm")


def share_shm(tree: int) -> None:
    """Mount *tree*, the shared memory of another container or of the host, on /dev/shm."""
    linux.umount("/dev/shm")
    _mount_at(tree, "/dev/shm")


def bind_console(terminal: int) -> None:
    """Mount the container's terminal on /dev/console."""
    os.close(os.open("/dev/console", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o620))
    _mount_at(linux.open_tree(terminal, "", recursive=False), "/dev/console")


def mount_version2(*, read_only: bool) -> None:
    """Mount the caller's control group namespace on /cgroup."""
    _mount_at(mounts.filesystem("cgroup2", mounts.RESTRICTED | (linux.ATTR_RDONLY if read_only else 0)), "/cgroup")


def protect(directory: int, name: str, attributes: int = 0, resolve: int = _STRICT) -> None:
    """Make *name* below *directory* read-only, with *attributes* in addition; nothing happens if it does not exist."""
    try:
        target = linux.openat2(directory, name, os.O_PATH, resolve)
    except (FileNotFoundError, NotADirectoryError):
        return
    tree = linux.open_tree(target, "")
    linux.mount_setattr(tree, add=linux.ATTR_RDONLY | attributes)
    mounts.attach(tree, target)
    os.close(target)


def _mount_at(tree: int, path: str) -> None:
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mounts.attach(tree, target)
    finally:
        os.close(target)


def _make_dev(root: int) -> None:
    attributes = linux.ATTR_NOSUID | linux.ATTR_STRICTATIME
    _mount_at(mounts.filesystem("tmpfs", attributes, [("mode", "755"), ("size", "65536k")]), "/dev")
    for name, major, minor in devices.NODES:
        os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    for name, target in devices.LINKS:
        os.symlink(target, f"/dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"/dev/{name}", 0o755)
    options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", str(root + _TTY_GROUP))]
    _mount_at(mounts.filesystem("devpts", linux.ATTR_NOSUID | linux.ATTR_NOEXEC, options), "/dev/pts")
    _mount_at(mounts.filesystem("mqueue", mounts.RESTRICTED), "/dev/mqueue")
    _mount_at(_shm(SHM_SIZE), "/dev/shm")


def _shm(size: int) -> int:
    return mounts.filesystem("tmpfs", mounts.RESTRICTED, [("mode", "1777"), ("size", str(size))], "shm")


def _own_groups(group: cgroups.Group) -> list[tuple[str, int]]:
    """Return (name below /sys/fs/cgroup, read-only detached bind mount) of each version 1 directory."""
    found = []
    for hierarchy, path in zip(group.hierarchies, group.paths(), strict=True):
        if hierarchy.version == 1:
            tree = linux.open_tree(linux.AT_FDCWD, path)
            linux.mount_setattr(tree, add=linux.ATTR_RDONLY | mounts.RESTRICTED)
            found.append((os.path.basename(hierarchy.path), tree))
    return found


def _make_cgroup(binds: list[tuple[str, int]]) -> None:
    top = mounts.filesystem("tmpfs", mounts.RESTRICTED, [("mode", "755")], "cgroup")
    linux.move_mount(top, linux.AT_FDCWD, "/cgroup")
    for name, tree in binds:
        os.mkdir(f"/cgroup/{name}", 0o755)
        _mount_at(tree, f"/cgroup/{name}")
    linux.mount_setattr(top, add=linux.ATTR_RDONLY)
    os.close(top)
