"""A container's first process, from its birth as a spare to the start of its program.

:func:`born` builds what needs no description and waits on its channel; the shim then sends the description with the
descriptors that only the host's mount table can give, and at last the word to go.  The channel closes when the program
runs; until then it carries one sentence about what went wrong.
"""

from __future__ import annotations

import _socket
import os

from runtime import frames
from runtime.init import credentials, mounts, rootfs, rootfs_skeleton
from runtime.kernel import cgroups, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runtime.kernel.devices import Node
    from runtime.spec import ContainerSpec


class NamespacePlan:
    """Which namespaces the stage is built in; a spare is built by the default plan."""

    __slots__ = ("guarded", "ipc", "mapped", "own_pid", "own_uts")

    def __init__(
        self,
        ipc: str = "private",
        own_pid: bool = True,
        own_uts: bool = True,
        guarded: bool = True,
        mapped: bool = False,
    ) -> None:
        self.ipc = ipc
        self.own_pid = own_pid
        self.own_uts = own_uts
        self.guarded = guarded
        self.mapped = mapped

    def flags(self) -> int:
        if self.mapped:
            return linux.CLONE_NEWNS  # the others are made in the user namespace
        found = linux.CLONE_NEWNS | linux.CLONE_NEWTIME
        found |= linux.CLONE_NEWIPC if self.ipc == "private" else 0
        return found | (linux.CLONE_NEWUTS if self.own_uts else 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamespacePlan) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)


def plan_for(spec: ContainerSpec) -> NamespacePlan:
    return NamespacePlan(
        spec.ipc_mode, spec.pid_mode == "private", spec.uts_mode == "private", not spec.privileged, bool(spec.userns)
    )


class Delivery:
    """What the shim sends with a description: descriptors by name, and device nodes."""

    def __init__(self, payload: bytes, descriptors: list[int]) -> None:
        spec, names, self.nodes = frames.unpack_tuple(payload)
        self.spec: ContainerSpec = frames.unpack_container(spec)
        self.trees = [fd for name, fd in zip(names, descriptors, strict=True) if name == "tree"]
        self._named = {name: fd for name, fd in zip(names, descriptors, strict=True) if name != "tree"}

    nodes: tuple[Node, ...]

    def take(self, name: str) -> int:
        """Return the descriptor of that name, now the caller's; -1 when it was not sent."""
        found: int = self._named.pop(name, -1)
        return found


def born(channel: _socket.socket, group: cgroups.Group, plan: NamespacePlan) -> NoReturn:
    """Live the life of a first process.  With version 2 control groups it has yet to be born again in its own."""
    guarded(channel, lambda: _live(channel, group, plan))


def guarded(channel: _socket.socket, life: Callable[[], None]) -> NoReturn:
    """Run *life*; report what it raises, and end."""
    try:
        life()
    except (credentials.CannotStart, rootfs.RootfsError) as problem:
        _fail(channel, str(problem), getattr(problem, "code", 128))
    except frames.Broken:
        pass
    except Exception as problem:
        _fail(channel, f"cannot make the container: {problem}", 128)
    os._exit(1)


def _fail(channel: _socket.socket, message: str, code: int) -> None:
    try:
        frames.send(channel, frames.FAILED, frames.pack((code, message)))
    except OSError:
        return


def _live(channel: _socket.socket, group: cgroups.Group, plan: NamespacePlan) -> None:
    be_born()
    whole = is_whole(group, plan)
    group.join()
    _build_stage(group, plan)
    if whole:
        rootfs_skeleton.make_proc(guarded=plan.guarded)
    frames.send(channel, frames.READY)
    _kind, payload, descriptors = frames.receive(channel)
    delivery = Delivery(payload, descriptors)
    if not whole:
        _be_born_again(channel, delivery, plan)
        rootfs_skeleton.make_proc(guarded=plan.guarded)
        _own_version2(group, plan)
    _prepare(channel, delivery)


def is_whole(group: cgroups.Group, plan: NamespacePlan) -> bool:
    """Whether the process itself can become the first: it is pid 1, and version 1 groups can be joined and renamed."""
    return plan.own_pid and not plan.mapped and group.path_v2() is None


def birth_flags(group: cgroups.Group, plan: NamespacePlan) -> int:
    """Return the namespaces with which the shim makes the process that calls :func:`born`."""
    return plan.flags() | (linux.CLONE_NEWPID if is_whole(group, plan) else 0)


def be_born() -> None:
    """End with the parent, and keep nothing of its session, signals and umask."""
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    os.setsid()
    linux.reset_signals()
    os.umask(0)


def _be_born_again(channel: _socket.socket, delivery: Delivery, plan: NamespacePlan) -> None:
    """Go on as a new child of the shim: in the container's version 2 group, and in its process namespace."""
    pids, cgroup = delivery.take("pid"), delivery.take("cgroup")
    if pids >= 0:
        linux.setns(pids, linux.CLONE_NEWPID)
    flags = linux.CLONE_PARENT | (linux.CLONE_NEWPID if plan.own_pid else 0)
    child = linux.clone(flags, cgroup)
    if child:
        frames.send(channel, frames.STATE, frames.pack(child))
        os._exit(0)
    for descriptor in (pids, cgroup):
        if descriptor >= 0:
            os.close(descriptor)
    be_born()


def _build_stage(group: cgroups.Group, plan: NamespacePlan) -> None:
    shm = linux.open_tree(linux.AT_FDCWD, "/dev/shm") if plan.ipc == "host" else take_ipc(plan)
    rootfs_skeleton.enter(group)
    if shm >= 0:
        rootfs_skeleton.share_shm(shm)


def take_ipc(plan: NamespacePlan) -> int:
    """Enter the ipc namespace of another container where *plan* says so; return its shared memory, or -1."""
    return _join_ipc(plan.ipc) if plan.ipc not in ("private", "host") else -1


def _join_ipc(path: str) -> int:
    """Enter the ipc namespace at ``/proc/N/ns/ipc``; return the shared memory file system of that container."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.open(os.path.join(os.path.dirname(path), "mnt"), os.O_RDONLY | os.O_CLOEXEC)
    ipc = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(ipc, linux.CLONE_NEWIPC)
        linux.setns(theirs, linux.CLONE_NEWNS)
        tree = linux.open_tree(linux.AT_FDCWD, "/dev/shm")
        linux.setns(own, linux.CLONE_NEWNS)
        return tree
    finally:
        frames.close_all([own, theirs, ipc])


def _own_version2(group: cgroups.Group, plan: NamespacePlan) -> None:
    if group.path_v2() is None:
        return
    linux.unshare(linux.CLONE_NEWCGROUP)
    if all(hierarchy.version == 2 for hierarchy in group.hierarchies):
        rootfs_skeleton.mount_version2(read_only=plan.guarded)


def _prepare(channel: _socket.socket, delivery: Delivery) -> None:
    spec = delivery.spec
    netns = delivery.take("netns")
    if netns >= 0:
        linux.setns(netns, linux.CLONE_NEWNET)
        os.close(netns)
    if spec.cgroup_namespace:
        linux.unshare(linux.CLONE_NEWCGROUP)
    linux.join_session_keyring()
    name(spec)
    credentials.set_oom_score(spec.process.oom_score_adj)
    master, stdio = furnish(delivery)
    run(channel, spec, master, stdio)


def furnish(delivery: Delivery) -> tuple[int, list[int]]:
    """Finish the stage as described and make it the root; return (master of the terminal or -1, stdio)."""
    spec = delivery.spec
    _write_sysctls(spec)
    if spec.ipc_mode == "private" and spec.shm_size != rootfs_skeleton.SHM_SIZE:
        rootfs_skeleton.resize_shm(spec.shm_size)
    opened = _open_stdio(delivery)
    rootfs.assemble(spec, delivery.take("root"), delivery.trees, delivery.nodes)
    return opened


def run(channel: _socket.socket, spec: ContainerSpec, master: int, stdio: list[int]) -> None:
    """Say that all is ready, wait for the word, and turn into the program."""
    credentials.take_stdio(stdio, terminal=spec.process.tty)
    identity = credentials.identify(spec.process)
    frames.send(channel, frames.PREPARED, b"", (master,) if master >= 0 else ())
    frames.receive(channel)
    credentials.finish(spec.process, identity, channel.fileno(), reap=spec.init)


def name(spec: ContainerSpec) -> None:
    """Set the names of the host in a uts namespace of the container's own."""
    if spec.uts_mode == "private":
        linux.sethostname(spec.hostname)
        linux.setdomainname(spec.domainname or "(none)")


def _write_sysctls(spec: ContainerSpec) -> None:
    """Write through a procfs of our own, on which nothing can have been mounted."""
    if not spec.sysctls:
        return
    proc = mounts.filesystem("proc", mounts.GUARDED)
    strict = linux.BENEATH | linux.NO_SYMLINKS | linux.NO_XDEV
    for key, value in spec.sysctls:
        try:
            descriptor = linux.openat2(proc, f"sys/{key.replace('.', '/')}", os.O_WRONLY, strict)
            os.write(descriptor, value.encode())
            os.close(descriptor)
        except OSError as problem:
            raise credentials.CannotStart(f"cannot set the sysctl {key} to {value!r}: {problem.strerror}") from None
    os.close(proc)


def _open_stdio(delivery: Delivery) -> tuple[int, list[int]]:
    """Return (master or -1, the three descriptors) from the stage's own devices and the shim's pipes."""
    process = delivery.spec.process
    if process.tty:
        devpts = os.open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        master, slave = credentials.open_terminal(devpts, process.console_size)
        os.close(devpts)
        rootfs_skeleton.bind_console(slave)
        return master, [slave, slave, slave]
    stdin = delivery.take("stdin")
    if stdin < 0:
        stdin = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    return -1, [stdin, delivery.take("stdout"), delivery.take("stderr")]
