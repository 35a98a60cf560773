"""A first process in a user namespace: root inside, nobody outside.

It takes three processes more, all gone when the program starts.  The *helper* enters the user namespace and starts the
*first* process there, so that its other namespaces belong to it.  The process that the shim has made stays root of the
host and joins all of them but the user namespace; its child, the *builder*, is in the process namespace too, and mounts
everything in a mount namespace of the host's.  At last the first process takes a copy of those mounts: in a copy that
belongs to another user namespace, the kernel lets nobody unmount, or make writable, what was there before.
"""

from __future__ import annotations

import os

from runtime import frames
from runtime.init import credentials, init, rootfs_skeleton
from runtime.kernel import cgroups, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn


def born(channel: _socket.socket, group: cgroups.Group, plan: init.NamespacePlan) -> NoReturn:
    """Do what :func:`init.born` does, in the user namespace that comes with the description."""
    init.guarded(channel, lambda: _live(channel, group, plan))


def _live(channel: _socket.socket, group: cgroups.Group, plan: init.NamespacePlan) -> None:
    init.be_born()
    group.join()
    frames.send(channel, frames.READY)
    _kind, payload, descriptors = frames.receive(channel)
    delivery = init.Delivery(payload, descriptors)
    group = cgroups.Group(group.hierarchies, f"{delivery.spec.cgroup_parent}/{delivery.spec.id}")  # renamed meanwhile
    shm = init.take_ipc(plan)
    ours, theirs = frames.pair()
    if linux.clone(linux.CLONE_PARENT) == 0:
        ours.close()
        _help(channel, theirs, delivery, group, plan)
        return
    theirs.close()
    _kind, _payload, (first,) = frames.receive(ours)
    _join(first)
    if (builder := linux.clone(0)) == 0:
        linux.act_as(delivery.spec.process.root)
        linux.prctl(linux.PR_SET_PDEATHSIG, 9)
        _build(ours, delivery, group, plan, shm)
        os._exit(0)
    # Collected first: a process namespace ends only when every process in it is collected, and the shim sleeps.
    _pid, status = os.waitpid(builder, 0)
    if status == 0:
        frames.send(ours, frames.GO)
    os._exit(0)


def _help(
    channel: _socket.socket,
    builder: _socket.socket,
    delivery: init.Delivery,
    group: cgroups.Group,
    plan: init.NamespacePlan,
) -> None:
    """Enter the user namespace, and go on as the first process: a child of the shim."""
    for name, kind in (
        ("userns", linux.CLONE_NEWUSER),
        ("netns", linux.CLONE_NEWNET),
        ("pid", linux.CLONE_NEWPID),
    ):
        if (descriptor := delivery.take(name)) >= 0:
            linux.setns(descriptor, kind)
            os.close(descriptor)
    cgroup = delivery.take("cgroup")
    child = linux.clone(linux.CLONE_PARENT | _own_namespaces(plan), cgroup)
    if child:
        frames.send(channel, frames.STATE, frames.pack(child))
        os._exit(0)
    linux.close_others(channel.fileno(), builder.fileno())  # what was delivered is the builder's
    _be_first(channel, builder, delivery, group)


def _own_namespaces(plan: init.NamespacePlan) -> int:
    found = linux.CLONE_NEWTIME
    found |= linux.CLONE_NEWPID if plan.own_pid else 0
    found |= linux.CLONE_NEWIPC if plan.ipc == "private" else 0
    return found | (linux.CLONE_NEWUTS if plan.own_uts else 0)


def _be_first(channel: _socket.socket, builder: _socket.socket, delivery: init.Delivery, group: cgroups.Group) -> None:
    """Let the builder in, wait until it is done, and take what it has made."""
    init.be_born()
    credentials.take_root()
    if group.path_v2() is not None or delivery.spec.cgroup_namespace:
        linux.unshare(linux.CLONE_NEWCGROUP)
    own = os.pidfd_open(os.getpid())
    frames.send(builder, frames.READY, b"", (own,))
    os.close(own)
    _kind, payload, stdio = frames.receive(builder)
    frames.receive(builder)
    builder.close()
    (terminal,) = frames.unpack_tuple(payload)
    linux.unshare(linux.CLONE_NEWNS)
    os.chdir("/")
    linux.join_session_keyring()
    master = stdio.pop() if terminal else -1
    init.run(channel, delivery.spec, master, [_reopened(descriptor) for descriptor in stdio])


def _reopened(descriptor: int) -> int:
    """Return a device opened by the mounts that are the container's own now, so that its name leads to it.

    What is not to be found there under its name stays as it is.
    """
    name = os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2]
    place = f"/dev/pts/{name}" if name.isdigit() else f"/dev/{name}"
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = linux.openat2(root, place, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK, linux.IN_ROOT | linux.NO_SYMLINKS)
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


def _join(first: int) -> None:
    """Enter the namespaces of the first process; children of this one will be in its process namespace too."""
    linux.setns(
        first,
        linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWNET | linux.CLONE_NEWCGROUP | linux.CLONE_NEWPID,
    )
    os.close(first)


def _build(
    first: _socket.socket, delivery: init.Delivery, group: cgroups.Group, plan: init.NamespacePlan, shm: int
) -> None:
    rootfs_skeleton.enter(group, root=delivery.spec.process.root)
    if shm >= 0:
        rootfs_skeleton.share_shm(shm)
    rootfs_skeleton.make_proc(guarded=plan.guarded)
    if all(hierarchy.version == 2 for hierarchy in group.hierarchies):
        rootfs_skeleton.mount_version2(read_only=plan.guarded)
    init.name(delivery.spec)
    master, stdio = init.furnish(delivery)
    terminal = (master,) if master >= 0 else ()
    frames.send(first, frames.PREPARED, frames.pack((bool(terminal),)), (*stdio, *terminal))
