"""The setup process: creates the process that a shim will serve, hands it over, and exits.

A child of the shim, so that the work of a start dirties no memory of the shim.  It exchanges frames with the daemon
until the program runs.  On an error it undoes everything, reports the error to the daemon, and exits; then the shim
exits too.
"""

from __future__ import annotations

import _socket
import os
import select

from runtime import frames
from runtime.init.start_errors import CannotStart
from runtime.kernel import cgroups, devices, linux
from runtime.shim import pipes, reattach, shimdir, spawn, user_namespace

_WATCHED_ENDS = frozenset({"stdout", "stderr", "master", "listener", "control", "pidfd"})

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runtime.frames import ShimState
    from runtime.spec import Process


class SetupRequest:
    """One request of the daemon.

    *ack* is a pipe to the zygote: a byte in it signals that the request was read.  *channel* is the zygote's connection
    to the daemon, *shim* the connection to the waiting shim, *events* that shim's epoll instance.
    """

    __slots__ = ("ack", "channel", "events", "shim")

    def __init__(self, ack: int, channel: _socket.socket, shim: _socket.socket, events: select.epoll) -> None:
        self.ack = ack
        self.channel = channel
        self.shim = shim
        self.events = events


class SetupContext:
    """The inputs of a setup: the request, the connection to the daemon, control groups, the shims' folder."""

    __slots__ = ("control", "hierarchies", "request", "shims")

    def __init__(
        self, request: SetupRequest, control: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int
    ) -> None:
        self.request = request
        self.control = control
        self.hierarchies = hierarchies
        self.shims = shims


def run(request: SetupRequest, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Answer the request, carry it out, and exit: with 0 if there is a process for the shim to serve."""
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    linux.prctl(linux.PR_SET_NAME, b"netd-setup\0")
    try:
        kind, _payload, _none = frames.receive(request.channel)
        control, theirs = frames.pair()
        frames.send(request.channel, kind, b"", (theirs.fileno(),))
        theirs.close()
        os.write(request.ack, b"1")
        os.close(request.ack)
        request.channel.close()
        context = SetupContext(request, control, hierarchies, shims)
    except (OSError, frames.ChannelError):
        os._exit(1)
    handlers = {
        frames.SETUP_CONTAINER: set_up_container,
        frames.SETUP_USERNS_CONTAINER: set_up_userns_container,
        frames.SETUP_EXEC: set_up_exec,
        frames.SETUP_REATTACH: set_up_reattached,
        frames.SETUP_NAMESPACES: set_up_namespaces,
    }
    handlers[kind](context)


def set_up_userns_container(context: SetupContext) -> NoReturn:
    """Do what :func:`set_up_container` does, prepared for a container with a user namespace."""
    set_up_container(context, mapped=True)


def set_up_container(context: SetupContext, *, mapped: bool = False) -> NoReturn:
    """Fork a first process, wait for the container's spec, and make the process that container's."""
    spawned = spawn.ContainerSpawn(context.hierarchies, mapped=mapped)
    try:
        spawned.wait_ready()
        frames.send(context.control, frames.READY)
        _kind, payload, _none = frames.receive(context.control)
        _create_container(context, spawned, payload)
    except Exception as problem:
        spawned.undo()
        _report(context.control, problem)
        os._exit(1)
    os._exit(0)


def set_up_exec(context: SetupContext) -> NoReturn:
    """Create the process of an exec."""
    try:
        _kind, payload, (target,) = frames.receive(context.control)
        _create_exec(context, payload, target)
    except Exception as problem:
        _report(context.control, problem)
        os._exit(1)
    os._exit(0)


def set_up_reattached(context: SetupContext) -> NoReturn:
    """Fork a shim for a process whose shim was killed; the shim that is our parent is not needed and exits."""
    if os.fork() == 0:
        linux.prctl(linux.PR_SET_PDEATHSIG, 0)
        os.setsid()
        reattach.serve(context.control, context.hierarchies, context.shims)
    os._exit(1)


def set_up_namespaces(context: SetupContext) -> NoReturn:
    """Create namespaces for a container that will be created; the shim that is our parent is not needed and exits."""
    try:
        _kind, payload, _none = frames.receive(context.control)
        first, count, donor, network = frames.unpack_namespaces(payload)
        created = user_namespace.make(first, count, donor, network=network)
        frames.send(context.control, frames.READY, b"", tuple(created))
    except Exception as problem:
        _report(context.control, problem)
    os._exit(1)


def _report(control: _socket.socket, problem: Exception) -> None:
    """Send FAILED to the daemon, unless it has disconnected."""
    code = problem.code if isinstance(problem, CannotStart) else 128
    try:
        frames.send(control, frames.FAILED, frames.pack_failure(code, str(problem)))
    except OSError:
        return


def _create_container(context: SetupContext, spawned: spawn.ContainerSpawn, payload: bytes) -> None:
    spec = frames.unpack_container(payload)
    spawned.ensure_plan(spec)
    spawned.name_group(spec)
    directory = _create_directory(context.shims, spec.id)
    try:
        nodes = spawn.device_nodes(spec)
        stdio = _open_pipes(directory, spec.process)
        spawned.send_bootstrap(spec, payload, [node for node, _access in nodes], stdio)
        rules = devices.rules_for(nodes, spec.limits.device_rules)
        state = _state(spec.id, spec.id, spawned.group, spec.process)
        # While the first process works.
        state["log"] = _create_log(spec.log_path), spec.log_max_size, spec.log_max_files
        listener = pipes.listen(context.shims, spec.id)
        if spec.userns:
            # Limits are set last: the processes that set up a user namespace would count against them.
            master = spawned.wait_prepared()
            spawned.apply_host_limits(spec.process)
            spawned.limit(spec, rules)
        else:
            spawned.limit(spec, rules)
            if spec.network_later:
                _kind, path, _none = frames.receive(context.control)
                spawned.send_network(frames.unpack_network(path))
            master = spawned.wait_prepared()
        _start_and_hand_over(context, spawned, master, directory, state, listener)
    except BaseException:
        shimdir.remove(context.shims, spec.id)
        raise


def _create_exec(context: SetupContext, payload: bytes, target: int) -> None:
    process, name, container, exec_id = frames.unpack_exec(payload)
    group = cgroups.Group(context.hierarchies, name)
    directory = _create_directory(context.shims, exec_id)
    try:
        stdio = _open_pipes(directory, process)
        spawned = spawn.ExecSpawn(group, target, process, [stdio.get(n, -1) for n in ("stdin", "stdout", "stderr")])
        frames.close_all([*stdio.values(), target])
        try:
            state, listener = _state(exec_id, container, group, process), pipes.listen(context.shims, exec_id)
            master = spawned.wait_prepared()
            _start_and_hand_over(context, spawned, master, directory, state, listener)
        except BaseException:
            spawned.undo()
            raise
    except BaseException:
        shimdir.remove(context.shims, exec_id)
        raise


def _start_and_hand_over(
    context: SetupContext,
    spawned: spawn.PendingProcess,
    master: int,
    directory: int,
    state: ShimState,
    listener: _socket.socket,
) -> None:
    """Send PREPARED, start the program when the daemon sends START, and send the shim its descriptors."""
    pidfd = os.pidfd_open(spawned.pid)
    ends = pipes.terminal_for_shim(master) if master >= 0 else pipes.open_for_shim(directory, stdin=state["stdin"])
    state["pid"] = spawned.pid
    state["start_time"] = shimdir.start_time(spawned.pid)
    kept_input = [ends[name] for name in ("master", "stdin") if name in ends]
    frames.send(context.control, frames.PREPARED, frames.pack_state(state), tuple(kept_input))
    frames.receive(context.control)
    spawned.start()
    state["started"] = shimdir.now()
    shimdir.write_state(directory, state)
    spawned.wait_running()
    ends |= {"listener": listener.fileno(), "control": context.control.fileno(), "pidfd": pidfd}
    _send_to_shim(context.request, state, ends)
    frames.send(context.control, frames.STARTED, frames.pack_state(state))


def _send_to_shim(request: SetupRequest, state: ShimState, ends: dict[str, int]) -> None:
    """Send the state and *ends* to the shim, and register in its epoll instance the ends whose events wake it."""
    frames.send(request.shim, frames.STARTED, frames.pack_handover(state, tuple(ends)), tuple(ends.values()))
    for name, descriptor in ends.items():
        if name in _WATCHED_ENDS:
            request.events.register(descriptor, select.EPOLLIN)


def _open_pipes(directory: int, process: Process) -> dict[str, int]:
    """Create the pipes of a process without a terminal; return its ends by name."""
    if process.tty:
        return {}
    pipes.make(directory, stdin=process.stdin)
    found = pipes.open_for_process(directory, stdin=process.stdin)
    if process.root:
        for descriptor in found.values():
            os.fchown(descriptor, process.root, process.root)
    return found


def _create_log(path: str) -> str:
    """Create the log file, so that it exists before the first output; return *path*."""
    if path:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640))
    return path


def _create_directory(shims: int, name: str) -> int:
    os.mkdir(name, 0o700, dir_fd=shims)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)


def _state(identifier: str, container: str, group: cgroups.Group, process: Process) -> ShimState:
    return {
        "id": identifier,
        "container": container,
        "group": group.name,
        "tty": process.tty,
        "stdin": process.stdin,
        "stdin_once": process.stdin_once,
        "log": ("", -1, 1),
        "started": "",
        "pid": 0,
        "start_time": 0,
    }
