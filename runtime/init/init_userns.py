"""A first process in a user namespace: root inside, an unprivileged user of the host outside.

Three more processes take part, and end before the program starts.  The *helper* enters the user namespace and forks the
*first* process there, so that the user namespace owns its other namespaces.  The process that the setup process has
forked stays root of the host and joins these other namespaces; its child, the *builder*, is also in the process
namespace, and mounts everything in a mount namespace owned by the host's user namespace.  Then the first process takes
a copy of that mount namespace: in a copy owned by another user namespace, the kernel locks the existing mounts,
so that they cannot be unmounted or made writable.
"""

from __future__ import annotations

import os

from runtime import frames
from runtime.init import credentials, init, rootfs_skeleton, start_errors
from runtime.kernel import cgroups, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn


def run(channel: _socket.socket, group: cgroups.Group, plan: init.NamespacePlan) -> NoReturn:
    """Do what :func:`init.run` does, in the user namespace that is sent with PREPARE."""
    start_errors.run_reporting(channel, lambda: _set_up(channel, group, plan), init.PURPOSE)


def _set_up(channel: _socket.socket, group: cgroups.Group, plan: init.NamespacePlan) -> None:
    init.detach_from_parent()
    group.join()
    frames.send(channel, frames.READY)
    _kind, payload, descriptors = frames.receive(channel)
    bootstrap = init.Bootstrap(payload, descriptors)
    # The setup process has renamed the group.
    group = cgroups.Group(group.hierarchies, f"{bootstrap.spec.cgroup_parent}/{bootstrap.spec.id}")
    shm = init.enter_ipc_namespace(plan)
    ours, theirs = frames.pair()
    if linux.clone(linux.CLONE_PARENT) == 0:
        ours.close()
        _run_helper(channel, theirs, bootstrap, group, plan)
        return
    theirs.close()
    _kind, _payload, (first,) = frames.receive(ours)
    _join_namespaces(first)
    if (builder := linux.clone(0)) == 0:
        linux.act_as(bootstrap.spec.process.root)
        linux.prctl(linux.PR_SET_PDEATHSIG, 9)
        _build(ours, bootstrap, group, plan, shm)
        os._exit(0)
    # Reaped here: a process namespace ends only when every process in it is reaped, and the shim does not reap yet.
    _pid, status = os.waitpid(builder, 0)
    if status == 0:
        frames.send(ours, frames.START)
    os._exit(0)


def _run_helper(
    channel: _socket.socket,
    builder: _socket.socket,
    bootstrap: init.Bootstrap,
    group: cgroups.Group,
    plan: init.NamespacePlan,
) -> None:
    """Enter the user namespace and fork the first process there, as a child of the shim; exit in the parent."""
    for name, kind in (
        ("userns", linux.CLONE_NEWUSER),
        ("netns", linux.CLONE_NEWNET),
        ("pid", linux.CLONE_NEWPID),
    ):
        if (descriptor := bootstrap.take(name)) >= 0:
            linux.setns(descriptor, kind)
            os.close(descriptor)
    cgroup = bootstrap.take("cgroup")
    child = linux.clone(linux.CLONE_PARENT | _own_namespaces(plan), cgroup)
    if child:
        frames.send(channel, frames.CHILD_PID, frames.pack(child))
        os._exit(0)
    linux.close_others(channel.fileno(), builder.fileno())  # the bootstrap's descriptors are used by the builder
    _run_first(channel, builder, bootstrap, group)


def _own_namespaces(plan: init.NamespacePlan) -> int:
    found = linux.CLONE_NEWTIME
    found |= linux.CLONE_NEWPID if plan.own_pid else 0
    found |= linux.CLONE_NEWIPC if plan.ipc == "private" else 0
    return found | (linux.CLONE_NEWUTS if plan.own_uts else 0)


def _run_first(
    channel: _socket.socket, builder: _socket.socket, bootstrap: init.Bootstrap, group: cgroups.Group
) -> None:
    """Send the builder a pidfd of this process, wait for its mounts, and copy its mount namespace."""
    init.detach_from_parent()
    credentials.become_root()
    wanted = bootstrap.spec.cgroup_namespace
    if wanted == "private" or (wanted != "host" and group.path_v2() is not None):
        linux.unshare(linux.CLONE_NEWCGROUP)
    own = os.pidfd_open(os.getpid())
    frames.send(builder, frames.READY, b"", (own,))
    os.close(own)
    _kind, payload, stdio = frames.receive(builder)
    frames.receive(builder)
    builder.close()
    linux.unshare(linux.CLONE_NEWNS)
    os.chdir("/")
    linux.join_session_keyring()
    master = stdio.pop() if payload[0] else -1
    init.start_program(channel, bootstrap.spec, master, [_reopen(descriptor) for descriptor in stdio])


def _reopen(descriptor: int) -> int:
    """Open a device again through the container's own mounts, so that /proc/self/fd shows a path that exists there.

    Returns *descriptor* itself if the container has no such device under that name.
    """
    name = os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2]
    path = f"/dev/pts/{name}" if name.isdigit() else f"/dev/{name}"
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = linux.openat2(root, path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK, linux.IN_ROOT | linux.NO_SYMLINKS)
    except OSError:
        return descriptor
    finally:
        os.close(root)
    if not os.path.samestat(os.fstat(found), os.fstat(descriptor)):
        os.close(found)
        return descriptor
    os.set_blocking(found, True)
    os.close(descriptor)
    return found


def _join_namespaces(first: int) -> None:
    """Enter the namespaces of *first*, a pidfd, and close that; only children enter its process namespace."""
    linux.setns(
        first,
        linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWNET | linux.CLONE_NEWCGROUP | linux.CLONE_NEWPID,
    )
    os.close(first)


def _build(
    first: _socket.socket, bootstrap: init.Bootstrap, group: cgroups.Group, plan: init.NamespacePlan, shm: int
) -> None:
    rootfs_skeleton.enter(group, root=bootstrap.spec.process.root)
    if shm >= 0:
        rootfs_skeleton.share_shm(shm)
    rootfs_skeleton.make_proc(masked=plan.masked)
    if all(hierarchy.version == 2 for hierarchy in group.hierarchies):
        rootfs_skeleton.mount_version2(read_only=not plan.privileged)
    init.set_names(bootstrap.spec)
    master, stdio = init.finish_rootfs(bootstrap)
    terminal = (master,) if master >= 0 else ()
    frames.send(first, frames.PREPARED, bytes((len(terminal),)), (*stdio, *terminal))
