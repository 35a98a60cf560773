"""The setup process's side of a new process: forks it, sends spec and descriptors, starts its program or undoes it all.

Runs in the host's mount namespace, where paths of the host can be resolved: layers, bind sources and namespaces are
opened here and sent as descriptors.
"""

from __future__ import annotations

import _socket
import os
import resource
import select
import time

from runtime import frames
from runtime.init import idmapped_mounts, init, init_exec, init_userns, mount_sources, mounts
from runtime.init.start_errors import CannotStart
from runtime.kernel import cgroups, cmdline, devices, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.kernel.devices import Node
    from runtime.spec import ContainerSpec, Process

PARENT = "netd"
COMMAND = "netd-init"
"""The command line of processes before the execve of their program."""
_IDLE_PREFIX = "spare-"
"""Idle processes' control groups are named ``spare-<pid of the setup process>-<monotonic ns, hex>-<pid namespace>``."""
_REAP_SECONDS = 5.0
_FOREIGN_NAMESPACE_SECONDS = 60


class PendingProcess:
    """A process that sends PREPARED and waits for START before it executes its program.

    Forked as a child of the shim (CLONE_PARENT), not of the setup process, so that the shim can reap it.
    """

    channel: _socket.socket
    pid: int
    timeout: int | None = None
    """Milliseconds that each step may take; None for no limit."""
    forks_again = True
    """Whether it forks again and sends CHILD_PID before it is prepared."""

    def wait_prepared(self) -> int:
        """Wait for PREPARED; return the master of the terminal, or -1."""
        descriptors = self._expect(frames.PREPARED, forked=not self.forks_again)
        return descriptors[0] if descriptors else -1

    def start(self) -> None:
        """Send START: the process executes its program."""
        frames.send(self.channel, frames.START)

    def wait_running(self) -> None:
        """Return when execve has succeeded.  Raises CannotStart if it has failed."""
        try:
            _kind, payload, _none = self._receive()
        except frames.ChannelError:
            self.channel.close()
            return
        code, message = frames.unpack_failure(payload)
        raise CannotStart(message, code)

    def undo(self) -> None:
        """Kill the process."""
        self.channel.close()
        kill(self.pid)

    def _receive(self) -> tuple[int, bytes, list[int]]:
        readable = select.poll()
        readable.register(self.channel, select.POLLIN)
        if not readable.poll(self.timeout):
            raise CannotStart(
                "the process did not become ready in time: a process of the container stopped it, or the container was"
                " paused; try again"
            )
        return frames.receive(self.channel)

    def _expect(self, wanted: int, *, forked: bool) -> list[int]:
        """Wait for *wanted* and, unless *forked*, for CHILD_PID, in any order; return the descriptors of *wanted*."""
        found: list[int] | None = None
        while found is None or not forked:
            try:
                kind, payload, descriptors = self._receive()
            except (frames.ChannelError, ConnectionResetError):
                raise CannotStart("the process was killed during its setup; try again") from None
            if kind == frames.CHILD_PID:
                self.pid = frames.unpack_pid(payload)
                forked = True
            elif kind == wanted:
                found = descriptors
            else:
                code, message = frames.unpack_failure(payload)
                raise CannotStart(message, code)
        return found


class ExecSpawn(PendingProcess):
    """An exec's process.  It has a time limit, because processes of the container can stop it with a signal."""

    timeout = 60_000

    def __init__(self, group: cgroups.Group, target: int, process: Process, stdio: list[int]) -> None:
        """Fork the process; *target* is a pidfd of the container's first process."""
        self.channel, theirs = frames.pair()
        self.pid = linux.clone(linux.CLONE_PARENT)
        if self.pid == 0:
            linux.close_others(theirs.fileno(), target, *stdio)
            _detach_from_host()
            init_exec.run(theirs, group, target, process, stdio)
        theirs.close()


class ContainerSpawn(PendingProcess):
    """A container's first process, with its control group."""

    def __init__(self, hierarchies: Sequence[cgroups.Hierarchy], *, mapped: bool = False) -> None:
        """Fork an idle process by the default plan, with a control group of its own."""
        self._hierarchies = hierarchies
        self._spawn(init.NamespacePlan(mapped=mapped), PARENT)

    def ensure_plan(self, spec: ContainerSpec) -> None:
        """Fork again if the container needs other namespaces or another parent group than the idle process has."""
        plan = init.plan_for(spec)
        if plan == self.plan and spec.cgroup_parent == self.parent:
            return
        self.undo()
        self._spawn(plan, spec.cgroup_parent)
        self.wait_ready()

    def wait_ready(self) -> None:
        self._expect(frames.READY, forked=True)

    def name_group(self, spec: ContainerSpec) -> None:
        """Rename the idle group to the container's."""
        name = f"{spec.cgroup_parent}/{spec.id}"
        _remove_empty_group(cgroups.Group(self._hierarchies, name))
        self.group.rename(name)
        if self.group.path_v2() is not None:
            self.group.create(versions=(2,))

    def send_bootstrap(self, spec: ContainerSpec, packed: bytes, nodes: Sequence[Node], stdio: dict[str, int]) -> None:
        """Send PREPARE with the spec and the descriptors that must be opened on the host; *stdio* is closed."""
        descriptors = dict(stdio)
        trees: list[int] = []
        if spec.userns:
            # Unmounting is slow.  This process keeps the mount namespace of the builder and of its parent open until it
            # exits, for which no process waits.  Otherwise the builder's parent, self.pid here, would exit late and
            # stay a zombie of the waiting shim.
            self._builder = os.pidfd_open(self.pid)
            self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _open_namespaces(spec, self.group, descriptors)
            user_namespace = descriptors.get("userns", -1)
            descriptors["root"] = open_root(spec, user_namespace)
            trees += open_trees(spec, user_namespace)
            names = (*descriptors, *("tree" for _ in trees))
            payload = frames.pack_bootstrap(packed, names, nodes)
            frames.send(self.channel, frames.PREPARE, payload, (*descriptors.values(), *trees))
        finally:
            frames.close_all([*descriptors.values(), *trees])

    def send_network(self, path: str) -> None:
        """Send NETWORK with the network namespace at *path*; the daemon's if it is empty.

        A process that has failed meanwhile has sent the reason.
        """
        namespaces = [_open_namespace(path)] if path else []
        try:
            frames.send(self.channel, frames.NETWORK, b"", tuple(namespaces))
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            frames.close_all(namespaces)

    def limit(self, spec: ContainerSpec, rules: Sequence[str]) -> None:
        """Set the container's limits, and allow the devices of *rules* in addition to the default ones."""
        if self.group.path("devices") is not None:
            self.group.allow_more_devices(rules)
        elif not spec.privileged:
            self.group.allow_devices((*devices.RULES, *rules))
        self.group.limit(spec.limits)

    def apply_host_limits(self, process: Process) -> None:
        """Set resource limits and OOM score of a process in a user namespace, which has no right to raise them itself.

        Waits until the builder and its parent have ended.
        """
        ended = select.poll()
        ended.register(self._builder, select.POLLIN)
        ended.poll(_REAP_SECONDS * 1000)
        try:
            for kind, soft, hard in process.rlimits:
                resource.prlimit(self.pid, kind, (soft, hard))
            cgroups.write(f"/proc/{self.pid}/oom_score_adj", str(process.oom_score_adj))
        except (OSError, ValueError) as problem:
            raise CannotStart(f"cannot set the limits or the OOM score of the container: {problem}") from None

    def undo(self) -> None:
        """Kill the process and remove its group."""
        super().undo()
        self.group.kill()
        self.group.remove()

    def _spawn(self, plan: init.NamespacePlan, parent: str) -> None:
        self.plan = plan
        self.parent = parent
        self.group = cgroups.Group(self._hierarchies, f"{parent}/{_idle_group_name()}")
        self.group.create(versions=(1,))
        if self.group.path("devices") is not None:
            self.group.allow_devices(devices.EVERYTHING if plan.privileged else devices.RULES)
        self.channel, theirs = frames.pair()
        self.forks_again = not init.is_final(self.group, plan)
        self.pid = linux.clone(linux.CLONE_PARENT | init.clone_flags(self.group, plan))
        if self.pid == 0:
            linux.close_others(theirs.fileno())
            _detach_from_host()
            (init_userns if plan.mapped else init).run(theirs, self.group, plan)
        theirs.close()


def _detach_from_host() -> None:
    """Replace this process's streams and command line, in which the container could read data of the host."""
    linux.detach_stdio()
    cmdline.replace((COMMAND,))


def remove_idle_groups(hierarchies: Sequence[cgroups.Hierarchy]) -> None:
    """Remove the groups of idle processes whose setup process was killed; groups with processes in them are kept."""
    for hierarchy in hierarchies:
        try:
            names = [name for name in os.listdir(f"{hierarchy.path}/{PARENT}") if name.startswith(_IDLE_PREFIX)]
        except FileNotFoundError:
            continue
        for name in names:
            if _is_left_over(name):
                cgroups.remove_empty(f"{hierarchy.path}/{PARENT}/{name}")


def _idle_group_name() -> str:
    return f"{_IDLE_PREFIX}{os.getpid()}-{time.monotonic_ns():x}-{os.stat('/proc/self/ns/pid').st_ino}"


def _is_left_over(name: str) -> bool:
    """Return whether the setup process of an idle group has ended.

    In another process namespace it is not visible: there, the group counts as left over after a minute.
    """
    pid, made, *namespace = name.removeprefix(_IDLE_PREFIX).split("-")
    if namespace and namespace[0] != str(os.stat("/proc/self/ns/pid").st_ino):
        return time.monotonic_ns() - int(made, 16) > _FOREIGN_NAMESPACE_SECONDS * 10**9
    return not os.path.exists(f"/proc/{pid}")


def kill(pid: int) -> None:
    """Kill a child of the shim, and wait until the shim has reaped it."""
    deadline = time.monotonic() + _REAP_SECONDS
    signal_number = 9
    while time.monotonic() < deadline:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            return
        signal_number = 0
        time.sleep(0.0005)


def _remove_empty_group(group: cgroups.Group) -> None:
    if not group.exists():
        return
    if group.pids():
        raise CannotStart(f"the control group {group.name} has processes already: the container is running")
    group.remove()


def _open_namespaces(spec: ContainerSpec, group: cgroups.Group, descriptors: dict[str, int]) -> None:
    if group.path_v2() is not None:
        descriptors["cgroup"] = group.open_version2()
    paths = {"netns": spec.netns, "userns": spec.userns or None}
    if spec.pid_mode not in ("private", "host"):
        paths["pid"] = spec.pid_mode
    for name, path in paths.items():
        if path is not None:
            descriptors[name] = _open_namespace(path)


def _open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        raise CannotStart(f"cannot open {path}: {problem.strerror}") from None


def open_root(spec: ContainerSpec, user_namespace: int = -1) -> int:
    """Return the root as a detached mount: an overlay of the layers, or the directory ``spec.root`` without layers.

    *user_namespace*, if not -1, is a descriptor: owners appear as that namespace maps them.
    """
    try:
        if not spec.lower:
            return mounts.bind(spec.root) if user_namespace < 0 else idmapped_mounts.bind(spec.root, user_namespace)
        if user_namespace < 0:
            return mounts.overlay(spec.lower, spec.upper, spec.work)
        return idmapped_mounts.overlay(spec.lower, spec.upper, spec.work, user_namespace, spec.process.root)
    except idmapped_mounts.CannotIdmap as problem:
        raise CannotStart(str(problem)) from None
    except OSError as problem:
        raise CannotStart(f"cannot mount the root of the container: {problem}") from None


def open_trees(spec: ContainerSpec, user_namespace: int = -1) -> list[int]:
    """Return detached copies of the sources of the binds, in order.

    *user_namespace* as in :func:`open_root`.
    """
    found: list[int] = []
    for mount in spec.mounts:
        if mount.kind == "tmpfs":
            continue
        try:
            found.append(mount_sources.open_source(mount, user_namespace))
        except idmapped_mounts.CannotIdmap as problem:
            frames.close_all(found)
            raise CannotStart(str(problem)) from None
        except OSError as problem:
            frames.close_all(found)
            raise CannotStart(mount_sources.failure(mount, problem)) from None
    return found


def device_nodes(spec: ContainerSpec) -> list[tuple[Node, str]]:
    """Return the device nodes that the container gets in addition to the default ones, with the access to each."""
    found: list[tuple[Node, str]] = []
    for device in spec.devices:
        try:
            found += [(node, device.access) for node in devices.nodes_of(device)]
        except (OSError, ValueError) as problem:
            raise CannotStart(
                f"error gathering device information while adding device {device.source!r}: {problem}"
            ) from None
    if spec.privileged:
        found += [(node, "rwm") for node in devices.all_of_host()]
    return found
