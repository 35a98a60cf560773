"""A container's first process, from its fork before any container is known to the execve of its program.

:func:`run` creates the root skeleton and sends READY.  The setup process answers with PREPARE: the container's spec and
descriptors that can only be opened in the host's mount namespace.  If the network namespace is created meanwhile, it
follows with NETWORK.  The first process sends PREPARED, waits for START, and executes the program, which closes the
channel.  Until then, an error is sent as FAILED.
"""

from __future__ import annotations

import _socket
import os

from runtime import frames
from runtime.init import credentials, mounts, rootfs, rootfs_skeleton, start_errors
from runtime.kernel import cgroups, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runtime.spec import ContainerSpec


PURPOSE = "make the container"
"""Completes "cannot …" in messages of unexpected errors."""


class NamespacePlan:
    """The namespaces of a first process; idle processes have the default plan, with *mapped* as configured.

    *ipc* is ``private``, ``host`` or the path of a namespace; *mapped* is true with a user namespace; *masked* if the
    default paths of /proc are hidden or protected.
    """

    __slots__ = ("ipc", "mapped", "masked", "own_pid", "own_uts", "privileged")

    def __init__(
        self,
        ipc: str = "private",
        own_pid: bool = True,
        own_uts: bool = True,
        privileged: bool = False,
        mapped: bool = False,
        masked: bool = True,
    ) -> None:
        self.ipc = ipc
        self.own_pid = own_pid
        self.own_uts = own_uts
        self.privileged = privileged
        self.mapped = mapped
        self.masked = masked

    def flags(self) -> int:
        if self.mapped:
            return linux.CLONE_NEWNS  # the others are created in the user namespace
        found = linux.CLONE_NEWNS | linux.CLONE_NEWTIME
        found |= linux.CLONE_NEWIPC if self.ipc == "private" else 0
        return found | (linux.CLONE_NEWUTS if self.own_uts else 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamespacePlan) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)


def plan_for(spec: ContainerSpec) -> NamespacePlan:
    return NamespacePlan(
        spec.ipc_mode,
        spec.pid_mode == "private",
        spec.uts_mode == "private",
        spec.privileged,
        bool(spec.userns),
        not spec.privileged and spec.masked_paths is None,
    )


class Bootstrap:
    """What the setup process sends with PREPARE: the spec, descriptors by name, and device nodes to create."""

    def __init__(self, payload: bytes, descriptors: list[int]) -> None:
        self.spec, names, self.nodes = frames.unpack_bootstrap(payload)
        self.trees = [fd for name, fd in zip(names, descriptors, strict=True) if name == "tree"]
        self._named = {name: fd for name, fd in zip(names, descriptors, strict=True) if name != "tree"}

    def take(self, name: str) -> int:
        """Return the descriptor of that name, which the caller owns from now on; -1 if it was not sent."""
        return self._named.pop(name, -1)


def run(channel: _socket.socket, group: cgroups.Group, plan: NamespacePlan) -> NoReturn:
    """Run a first process in the namespaces of *plan*; *group* is its control group."""
    start_errors.run_reporting(channel, lambda: _set_up(channel, group, plan), PURPOSE)


def _set_up(channel: _socket.socket, group: cgroups.Group, plan: NamespacePlan) -> None:
    detach_from_parent()
    final = is_final(group, plan)
    group.join()
    _build_skeleton(group, plan)
    if final:
        rootfs_skeleton.make_proc(masked=plan.masked)
    frames.send(channel, frames.READY)
    _kind, payload, descriptors = frames.receive(channel)
    bootstrap = Bootstrap(payload, descriptors)
    if not final:
        _fork_into_container(channel, bootstrap, plan)
        rootfs_skeleton.make_proc(masked=plan.masked)
        _enter_cgroup_namespace(group, plan, bootstrap.spec)
    _prepare(channel, bootstrap)


def is_final(group: cgroups.Group, plan: NamespacePlan) -> bool:
    """Return whether the forked process itself becomes the first process, and need not fork again for its namespaces.

    True for a pid 1 with version 1 control groups alone, which can be joined and renamed.
    """
    return plan.own_pid and not plan.mapped and group.path_v2() is None


def clone_flags(group: cgroups.Group, plan: NamespacePlan) -> int:
    """Return the clone flags for the process that calls :func:`run`."""
    return plan.flags() | (linux.CLONE_NEWPID if is_final(group, plan) else 0)


def detach_from_parent() -> None:
    """Set the parent-death signal; leave the parent's session, signal dispositions and umask."""
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    os.setsid()
    linux.reset_signals()
    os.umask(0)


def _fork_into_container(channel: _socket.socket, bootstrap: Bootstrap, plan: NamespacePlan) -> None:
    """Fork a child of the shim in the container's version 2 group and process namespace; exit in the parent."""
    pids, cgroup = bootstrap.take("pid"), bootstrap.take("cgroup")
    if pids >= 0:
        linux.setns(pids, linux.CLONE_NEWPID)
    flags = linux.CLONE_PARENT | (linux.CLONE_NEWPID if plan.own_pid else 0)
    child = linux.clone(flags, cgroup)
    if child:
        frames.send(channel, frames.CHILD_PID, frames.pack(child))
        os._exit(0)
    for descriptor in (pids, cgroup):
        if descriptor >= 0:
            os.close(descriptor)
    detach_from_parent()


def _build_skeleton(group: cgroups.Group, plan: NamespacePlan) -> None:
    shm = linux.open_tree(linux.AT_FDCWD, "/dev/shm") if plan.ipc == "host" else enter_ipc_namespace(plan)
    rootfs_skeleton.enter(group)
    if shm >= 0:
        rootfs_skeleton.share_shm(shm)


def enter_ipc_namespace(plan: NamespacePlan) -> int:
    """Enter the ipc namespace of another container if *plan* has one; return its /dev/shm as a mount, or -1."""
    return _join_ipc(plan.ipc) if plan.ipc not in ("private", "host") else -1


def _join_ipc(path: str) -> int:
    """Enter the ipc namespace at ``/proc/N/ns/ipc``; return a detached copy of that container's /dev/shm."""
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


def _enter_cgroup_namespace(group: cgroups.Group, plan: NamespacePlan, spec: ContainerSpec) -> None:
    if group.path_v2() is None:
        return
    if spec.cgroup_namespace != "host":
        linux.unshare(linux.CLONE_NEWCGROUP)
    if all(hierarchy.version == 2 for hierarchy in group.hierarchies):
        rootfs_skeleton.mount_version2(read_only=not plan.privileged)


def _prepare(channel: _socket.socket, bootstrap: Bootstrap) -> None:
    spec = bootstrap.spec
    if not spec.network_later:
        _enter_network([bootstrap.take("netns")])
    if spec.cgroup_namespace == "private":
        linux.unshare(linux.CLONE_NEWCGROUP)
    linux.join_session_keyring()
    set_names(spec)
    credentials.set_oom_score(spec.process.oom_score_adj)
    master, stdio = finish_rootfs(bootstrap, channel if spec.network_later else None)
    start_program(channel, spec, master, stdio)


def _enter_network(namespaces: list[int]) -> None:
    """Enter the network namespace, unless *namespaces* is empty or [-1]; closes the descriptor."""
    for descriptor in namespaces:
        if descriptor >= 0:
            linux.setns(descriptor, linux.CLONE_NEWNET)
            os.close(descriptor)


def _wait_for_network(channel: _socket.socket) -> None:
    """Wait for NETWORK, and enter the network namespace that comes with it."""
    _kind, _payload, descriptors = frames.receive(channel)
    _enter_network(descriptors)


def finish_rootfs(bootstrap: Bootstrap, channel: _socket.socket | None = None) -> tuple[int, list[int]]:
    """Assemble the root as the spec says and change to it; return (master of the terminal or -1, stdio).

    With *channel*, this process is not in the network namespace of the container yet, and waits there for NETWORK.
    """
    spec = bootstrap.spec
    _write_sysctls(spec)
    if spec.ipc_mode == "private" and spec.shm_size != rootfs_skeleton.SHM_SIZE:
        rootfs_skeleton.resize_shm(spec.shm_size)
    opened = _open_stdio(bootstrap)
    joined = None if channel is None else lambda: _wait_for_network(channel)
    rootfs.assemble(spec, bootstrap.take("root"), bootstrap.trees, bootstrap.nodes, joined)
    return opened


def start_program(channel: _socket.socket, spec: ContainerSpec, master: int, stdio: list[int]) -> None:
    """Send PREPARED, wait for START, and execute the program."""
    credentials.set_stdio(stdio, terminal=spec.process.tty)
    identity = credentials.find_identity(spec.process)
    frames.send(channel, frames.PREPARED, b"", (master,) if master >= 0 else ())
    frames.receive(channel)
    credentials.exec_program(spec.process, identity, channel.fileno(), reap=spec.init)


def set_names(spec: ContainerSpec) -> None:
    """Set host name and domain name, if the container has its own uts namespace."""
    if spec.uts_mode == "private":
        linux.sethostname(spec.hostname)
        linux.setdomainname(spec.domainname or "(none)")


def _write_sysctls(spec: ContainerSpec) -> None:
    """Write through a new procfs, on which nothing can have been mounted."""
    if not spec.sysctls:
        return
    proc = mounts.filesystem("proc", mounts.RESTRICTED)
    strict = linux.BENEATH | linux.NO_SYMLINKS | linux.NO_XDEV
    for key, value in spec.sysctls:
        try:
            descriptor = linux.openat2(proc, f"sys/{key.replace('.', '/')}", os.O_WRONLY, strict)
            os.write(descriptor, value.encode())
            os.close(descriptor)
        except OSError as problem:
            raise start_errors.CannotStart(f"cannot set the sysctl {key} to {value!r}: {problem.strerror}") from None
    os.close(proc)


def _open_stdio(bootstrap: Bootstrap) -> tuple[int, list[int]]:
    """Return (master or -1, the three descriptors), from the skeleton's devices and the shim's pipes."""
    process = bootstrap.spec.process
    if process.tty:
        devpts = os.open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        master, slave = credentials.open_terminal(devpts, process.console_size)
        os.close(devpts)
        rootfs_skeleton.bind_console(slave)
        return master, [slave, slave, slave]
    stdin = bootstrap.take("stdin")
    if stdin < 0:
        stdin = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    return -1, [stdin, bootstrap.take("stdout"), bootstrap.take("stderr")]
