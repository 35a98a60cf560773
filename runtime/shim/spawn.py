"""The shim's side of a first process: brings it to life as a spare, gives it its container, lets it go or undoes all.

Runs in the host's mount namespace, the only place where the host's paths mean what they say: layers, bind sources
and namespaces are opened here and handed over as descriptors.
"""

from __future__ import annotations

import _socket
import os
import resource
import select
import time

from runtime import frames
from runtime.init import idmapped_mounts, init, init_exec, init_userns, mounts
from runtime.kernel import cgroups, cmdline, devices, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.kernel.devices import Node
    from runtime.spec import ContainerSpec, MountSpec, Process

PARENT = "netd"
COMMAND = "netd-init"
"""The command line of processes on their way into a container."""
_SPARE = "spare-"
_BURIAL_SECONDS = 5.0
_FOREIGN_SECONDS = 60


class Failed(Exception):
    """The process could not be made: a sentence, and the exit code that Docker gives it."""

    def __init__(self, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Waiting:
    """A child of the shim that gets ready, says so, and waits for the word to run its program.

    Not of the midwife, whose code this is: the shim has to be its parent when she has gone.
    """

    channel: _socket.socket
    pid: int
    patience: int | None = None
    """Milliseconds that each step may take; None for as long as it takes."""
    moves = True
    """Whether it goes on as another process, of which it tells, before it is prepared."""

    def wait_prepared(self) -> int:
        """Return the master of the terminal, or -1, when the process stands before its program."""
        descriptors = self._expect(frames.PREPARED, moved=not self.moves)
        return descriptors[0] if descriptors else -1

    def go(self) -> None:
        """Let the program run."""
        frames.send(self.channel, frames.GO)

    def wait_running(self) -> None:
        """Return when the program runs.  Raises Failed when it cannot."""
        try:
            _kind, payload, _none = self._receive()
        except frames.Broken:
            self.channel.close()
            return
        code, message = frames.unpack_tuple(payload)
        raise Failed(message, code)

    def undo(self) -> None:
        """Kill the process."""
        self.channel.close()
        kill(self.pid)

    def _receive(self) -> tuple[int, bytes, list[int]]:
        coming = select.poll()
        coming.register(self.channel, select.POLLIN)
        if not coming.poll(self.patience):
            raise Failed(
                "the process did not become ready in time: a process of the container stopped it, or the container was"
                " paused; try again"
            )
        return frames.receive(self.channel)

    def _expect(self, wanted: int, *, moved: bool) -> list[int]:
        """Return the descriptors that come with *wanted*; the word of a move may come before or after it."""
        found: list[int] | None = None
        while found is None or not moved:
            try:
                kind, payload, descriptors = self._receive()
            except (frames.Broken, ConnectionResetError):
                raise Failed("the process was killed while it was being made") from None
            if kind == frames.STATE:
                self.pid = int(frames.unpack(payload))  # type: ignore[call-overload]
                moved = True
            elif kind == wanted:
                found = descriptors
            else:
                code, message = frames.unpack_tuple(payload)
                raise Failed(message, code)
        return found


class ExecSpawn(Waiting):
    """An exec's process.  Processes of the container can stop it before its program runs."""

    patience = 60_000

    def __init__(self, group: cgroups.Group, target: int, process: Process, stdio: list[int]) -> None:
        """Fork it; *target* is a pidfd of the container's first process."""
        self.channel, theirs = frames.pair()
        self.pid = linux.clone(linux.CLONE_PARENT)
        if self.pid == 0:
            linux.close_others(theirs.fileno(), target, *stdio)
            _forget_host()
            init_exec.born(theirs, group, target, process, stdio)
        theirs.close()


class ContainerSpawn(Waiting):
    """A container's first process, with its control group."""

    def __init__(self, hierarchies: Sequence[cgroups.Hierarchy], *, mapped: bool = False) -> None:
        """Make a spare: the usual kind, with no container yet."""
        self._hierarchies = hierarchies
        self._begin(init.NamespacePlan(mapped=mapped), PARENT)

    def suit(self, spec: ContainerSpec) -> None:
        """Start again where the container needs other namespaces, or another place, than a spare has."""
        plan = init.plan_for(spec)
        if plan == self.plan and spec.cgroup_parent == self.parent:
            return
        self.undo()
        self._begin(plan, spec.cgroup_parent)
        self.wait_ready()

    def wait_ready(self) -> None:
        self._expect(frames.READY, moved=True)

    def take_name(self, spec: ContainerSpec) -> None:
        """Turn the spare group into the container's."""
        name = f"{spec.cgroup_parent}/{spec.id}"
        _remove_stale(cgroups.Group(self._hierarchies, name))
        self.group.rename(name)
        if self.group.path_v2() is not None:
            self.group.create(versions=(2,))

    def deliver(self, spec: ContainerSpec, packed: bytes, nodes: Sequence[Node], stdio: dict[str, int]) -> None:
        """Send the description with everything that has to be opened outside; *stdio* is closed."""
        held = dict(stdio)
        trees: list[int] = []
        if spec.userns:
            # Taking mounts apart takes the kernel long: the last holder of the builder's is the midwife, whose end
            # nobody waits for, and not the builder, of which the sleeping shim would then keep a zombie.
            self._builder = os.pidfd_open(self.pid)
            self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _open_namespaces(spec, self.group, held)
            shift = held.get("userns", -1)
            held["root"] = open_root(spec, shift)
            trees += open_trees(spec, shift)
            names = (*held, *("tree" for _ in trees))
            payload = frames.pack((packed, names, tuple(nodes)))
            frames.send(self.channel, frames.PREPARE, payload, (*held.values(), *trees))
        finally:
            frames.close_all([*held.values(), *trees])

    def limit(self, spec: ContainerSpec, rules: Sequence[str]) -> None:
        """Set the container's limits, and let it open what *rules* say beyond the usual devices."""
        if self.group.path("devices") is not None:
            self.group.allow_more_devices(rules)
        elif not spec.privileged:
            self.group.allow_devices((*devices.RULES, *rules))
        self.group.limit(spec.limits)

    def settle(self, process: Process) -> None:
        """Give a process in a user namespace what it has no right to take itself: limits and the OOM score.

        Returns when the builder has ended.
        """
        ended = select.poll()
        ended.register(self._builder, select.POLLIN)
        ended.poll(_BURIAL_SECONDS * 1000)
        try:
            for kind, soft, hard in process.rlimits:
                resource.prlimit(self.pid, kind, (soft, hard))
            cgroups.write(f"/proc/{self.pid}/oom_score_adj", str(process.oom_score_adj))
        except (OSError, ValueError) as problem:
            raise Failed(f"cannot set the limits or the OOM score of the container: {problem}") from None

    def undo(self) -> None:
        """Kill what has been made and remove the group."""
        super().undo()
        self.group.kill()
        self.group.remove()

    def _begin(self, plan: init.NamespacePlan, parent: str) -> None:
        self.plan = plan
        self.parent = parent
        self.group = cgroups.Group(self._hierarchies, f"{parent}/{_spare_name()}")
        self.group.create(versions=(1,))
        if self.group.path("devices") is not None:
            self.group.allow_devices(devices.RULES if plan.guarded else devices.EVERYTHING)
        self.channel, theirs = frames.pair()
        self.moves = not init.is_whole(self.group, plan)
        self.pid = linux.clone(linux.CLONE_PARENT | init.birth_flags(self.group, plan))
        if self.pid == 0:
            linux.close_others(theirs.fileno())
            _forget_host()
            (init_userns if plan.mapped else init).born(theirs, self.group, plan)
        theirs.close()


def _forget_host() -> None:
    """Let go of what a container, whose processes see this one from now on, could reach or read of the host."""
    linux.detach_stdio()
    cmdline.replace((COMMAND,))


def sweep_spares(hierarchies: Sequence[cgroups.Hierarchy]) -> None:
    """Remove the groups of spares whose midwife was killed; a group with processes in it is left alone."""
    for hierarchy in hierarchies:
        try:
            names = [name for name in os.listdir(f"{hierarchy.path}/{PARENT}") if name.startswith(_SPARE)]
        except FileNotFoundError:
            continue
        for name in names:
            if _is_left_over(name):
                cgroups.remove_empty(f"{hierarchy.path}/{PARENT}/{name}")


def _spare_name() -> str:
    return f"{_SPARE}{os.getpid()}-{time.monotonic_ns():x}-{os.stat('/proc/self/ns/pid').st_ino}"


def _is_left_over(name: str) -> bool:
    """Whether the midwife of a spare is gone; of another process namespace, which cannot be seen, after a minute."""
    pid, made, *namespace = name.removeprefix(_SPARE).split("-")
    if namespace and namespace[0] != str(os.stat("/proc/self/ns/pid").st_ino):
        return time.monotonic_ns() - int(made, 16) > _FOREIGN_SECONDS * 10**9
    return not os.path.exists(f"/proc/{pid}")


def kill(pid: int) -> None:
    """Kill a child of the shim, and wait until the shim has collected it."""
    deadline = time.monotonic() + _BURIAL_SECONDS
    number = 9
    while time.monotonic() < deadline:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        number = 0
        time.sleep(0.0005)


def _remove_stale(group: cgroups.Group) -> None:
    if not group.exists():
        return
    if group.pids():
        raise Failed(f"the control group {group.name} has processes already: the container is running")
    group.remove()


def _open_namespaces(spec: ContainerSpec, group: cgroups.Group, held: dict[str, int]) -> None:
    if group.path_v2() is not None:
        held["cgroup"] = group.open_version2()
    paths = {"netns": spec.netns, "userns": spec.userns or None}
    if spec.pid_mode not in ("private", "host"):
        paths["pid"] = spec.pid_mode
    for name, path in paths.items():
        if path is not None:
            try:
                held[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as problem:
                raise Failed(f"cannot open {path}: {problem.strerror}") from None


def open_root(spec: ContainerSpec, shift: int = -1) -> int:
    """Return the root as a detached mount: an overlay of the layers, or the directory ``root`` where there are none.

    With *shift*, a user namespace, owners are shown as that maps them.
    """
    try:
        if not spec.lower:
            return mounts.bind(spec.root) if shift < 0 else idmapped_mounts.bind(spec.root, shift)
        if shift < 0:
            return mounts.overlay(spec.lower, spec.upper, spec.work)
        return idmapped_mounts.overlay(spec.lower, spec.upper, spec.work, shift, spec.process.root)
    except idmapped_mounts.CannotShift as problem:
        raise Failed(str(problem)) from None
    except OSError as problem:
        raise Failed(f"cannot mount the root of the container: {problem}") from None


def open_trees(spec: ContainerSpec, shift: int = -1) -> list[int]:
    """Return detached copies of the sources of the binds, in order; *shift* as in :func:`open_root`."""
    found: list[int] = []
    for mount in spec.mounts:
        if mount.kind != "bind":
            continue
        try:
            found.append(_open_tree(mount, shift))
        except idmapped_mounts.CannotShift as problem:
            frames.close_all(found)
            raise Failed(str(problem)) from None
        except OSError as problem:
            frames.close_all(found)
            raise Failed(f"cannot mount {mount.source}: {os.strerror(problem.errno or 0).lower()}") from None
    return found


def _open_tree(mount: MountSpec, shift: int) -> int:
    if shift < 0:
        return mounts.bind(mount.source, read_only=mount.read_only, propagation=mount.propagation)
    return idmapped_mounts.bind(mount.source, shift, read_only=mount.read_only, propagation=mount.propagation)


def find_nodes(spec: ContainerSpec) -> list[tuple[Node, str]]:
    """Return the device nodes that the container gets beyond the usual ones, with the access to each."""
    found: list[tuple[Node, str]] = []
    for device in spec.devices:
        try:
            found += [(node, device.access) for node in devices.nodes_of(device)]
        except (OSError, ValueError) as problem:
            raise Failed(
                f"error gathering device information while adding device {device.source!r}: {problem}"
            ) from None
    if spec.privileged:
        found += [(node, "rwm") for node in devices.all_of_host()]
    return found
