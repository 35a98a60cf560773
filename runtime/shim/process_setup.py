"""Makes the process that a shim will look after, hands it over, and is gone.

A child of the shim, so that all the work of a start leaves no trace in the memory of the one who stays.  It speaks with
the daemon until the program runs.  What goes wrong until then it undoes and reports; the shim then simply ends.
"""

from __future__ import annotations

import _socket
import os
import select

from runtime import frames
from runtime.kernel import cgroups, devices, linux
from runtime.shim import pipes, reattach, shimdir, spawn, user_namespace

_WAKING = frozenset({"stdout", "stderr", "master", "listener", "control", "pidfd"})

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from runtime.spec import Process


class SetupRequest:
    """How the midwife was called: by the daemon through the zygote's channel, for a shim that waits for a delivery."""

    __slots__ = ("channel", "delivery", "events", "shim", "told")

    def __init__(
        self, told: int, channel: _socket.socket, shim: _socket.socket, delivery: _socket.socket, events: select.epoll
    ) -> None:
        self.told = told
        self.channel = channel
        self.shim = shim
        self.delivery = delivery
        self.events = events


class SetupContext:
    """Where the midwife works: the daemon, the shim, the control groups and the shims' folder."""

    __slots__ = ("call", "control", "hierarchies", "shims")

    def __init__(
        self, call: SetupRequest, control: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int
    ) -> None:
        self.call = call
        self.control = control
        self.hierarchies = hierarchies
        self.shims = shims


def attend(call: SetupRequest, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Answer the request, do the work, and end: with 0 when there is a process for the shim to look after."""
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    linux.prctl(linux.PR_SET_NAME, b"netd-midwife\0")
    try:
        kind, _payload, _none = frames.receive(call.channel)
        control, theirs = frames.pair()
        frames.send(call.channel, kind, b"", (theirs.fileno(),))
        theirs.close()
        os.write(call.told, b"1")
        os.close(call.told)
        call.channel.close()
        hall = SetupContext(call, control, hierarchies, shims)
    except (OSError, frames.Broken):
        os._exit(1)
    attendance = {
        frames.SPARE: attend_container,
        frames.SPARE_MAPPED: attend_mapped_container,
        frames.JOIN: attend_exec,
        frames.SUCCEED: attend_orphan,
        frames.NAMESPACES: attend_namespaces,
    }
    attendance[kind](hall)


def attend_mapped_container(hall: SetupContext) -> NoReturn:
    """Do what :func:`attend_container` does; the container is expected to have a user namespace."""
    attend_container(hall, mapped=True)


def attend_container(hall: SetupContext, *, mapped: bool = False) -> NoReturn:
    """Keep a first process ready, and make it the container's that the daemon asks for."""
    made = spawn.ContainerSpawn(hall.hierarchies, mapped=mapped)
    try:
        made.wait_ready()
        frames.send(hall.control, frames.READY)
        _kind, payload, _none = frames.receive(hall.control)
        _make_container(hall, made, payload)
    except Exception as problem:
        made.undo()
        _report(hall.control, problem)
        os._exit(1)
    os._exit(0)


def attend_exec(hall: SetupContext) -> NoReturn:
    """Make a further process in a container, as the daemon says."""
    try:
        _kind, payload, (target,) = frames.receive(hall.control)
        _make_exec(hall, payload, target)
    except Exception as problem:
        _report(hall.control, problem)
        os._exit(1)
    os._exit(0)


def attend_orphan(hall: SetupContext) -> NoReturn:
    """Start another shim for a process that has lost its own; the one that called is not needed."""
    if os.fork() == 0:
        linux.prctl(linux.PR_SET_PDEATHSIG, 0)
        os.setsid()
        reattach.serve(hall.control, hall.hierarchies, hall.shims)
    os._exit(1)


def attend_namespaces(hall: SetupContext) -> NoReturn:
    """Make namespaces for a container that is to be made; the shim that called is not needed."""
    try:
        _kind, payload, _none = frames.receive(hall.control)
        first, count, donor, network = frames.unpack_tuple(payload)
        made = user_namespace.make(first, count, donor, network=network)
        frames.send(hall.control, frames.READY, b"", tuple(made))
    except Exception as problem:
        _report(hall.control, problem)
    os._exit(1)


def _report(control: _socket.socket, problem: Exception) -> None:
    """Tell the daemon, if it is still there, why nothing has come of it."""
    code = problem.code if isinstance(problem, spawn.Failed) else 128
    try:
        frames.send(control, frames.FAILED, frames.pack((code, str(problem))))
    except OSError:
        return


def _make_container(hall: SetupContext, made: spawn.ContainerSpawn, payload: bytes) -> None:
    spec = frames.unpack_container(payload)
    made.suit(spec)
    made.take_name(spec)
    directory = _make_directory(hall.shims, spec.id)
    try:
        nodes = spawn.find_nodes(spec)
        stdio = _make_pipes(directory, spec.process)
        made.deliver(spec, payload, [node for node, _access in nodes], stdio)
        rules = devices.rules_for(nodes, spec.limits.device_rules)
        if spec.userns:
            # Several processes make it, which would count against its limits.
            master = made.wait_prepared()
            made.settle(spec.process)
            made.limit(spec, rules)
        else:
            made.limit(spec, rules)
            master = made.wait_prepared()
        state = _state(spec.id, spec.id, made.group, spec.process)
        state["log"] = _make_log(spec.log_path), spec.log_max_size, spec.log_max_files
        _hand_over(hall, made, master, directory, state)
    except BaseException:
        shimdir.remove(hall.shims, spec.id)
        raise


def _make_exec(hall: SetupContext, payload: bytes, target: int) -> None:
    packed, name, container, exec_id = frames.unpack_tuple(payload)
    process = frames.unpack_process(packed)
    group = cgroups.Group(hall.hierarchies, name)
    directory = _make_directory(hall.shims, exec_id)
    try:
        stdio = _make_pipes(directory, process)
        made = spawn.ExecSpawn(group, target, process, [stdio.get(n, -1) for n in ("stdin", "stdout", "stderr")])
        frames.close_all([*stdio.values(), target])
        try:
            master = made.wait_prepared()
            _hand_over(hall, made, master, directory, _state(exec_id, container, group, process))
        except BaseException:
            made.undo()
            raise
    except BaseException:
        shimdir.remove(hall.shims, exec_id)
        raise


def _hand_over(hall: SetupContext, made: spawn.Waiting, master: int, directory: int, state: dict[str, Any]) -> None:
    """Say that the process is ready, start it at the word, and give the shim its ends."""
    pidfd = os.pidfd_open(made.pid)
    ends = pipes.terminal_for_shim(master) if master >= 0 else pipes.open_for_shim(directory, stdin=state["stdin"])
    state.update(pid=made.pid, start_time=shimdir.start_time(made.pid))
    listener = pipes.listen(hall.shims, state["id"])
    keeper = [ends[name] for name in ("master", "stdin") if name in ends]
    frames.send(hall.control, frames.PREPARED, frames.pack(state), tuple(keeper))
    frames.receive(hall.control)
    made.go()
    state["started"] = shimdir.now()
    shimdir.write_state(directory, state)
    made.wait_running()
    ends |= {"listener": listener.fileno(), "control": hall.control.fileno(), "pidfd": pidfd}
    _deliver(hall.call, state, ends)
    frames.send(hall.control, frames.STARTED, frames.pack(state))


def _deliver(call: SetupRequest, state: dict[str, Any], ends: dict[str, int]) -> None:
    """Let the shim, which sleeps, wake when one of its ends has something for it."""
    frames.send(call.shim, frames.STARTED, frames.pack((state, tuple(ends))), tuple(ends.values()))
    for name, descriptor in ends.items():
        if name in _WAKING:
            call.events.register(descriptor, select.EPOLLIN)


def _make_pipes(directory: int, process: Process) -> dict[str, int]:
    """Make and open the pipes of a process without a terminal; return its ends."""
    if process.tty:
        return {}
    pipes.make(directory, stdin=process.stdin)
    found = pipes.open_for_process(directory, stdin=process.stdin)
    if process.root:
        for descriptor in found.values():
            os.fchown(descriptor, process.root, process.root)
    return found


def _make_log(path: str) -> str:
    """See to it that the log is there from the start."""
    if path:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640))
    return path


def _make_directory(shims: int, name: str) -> int:
    os.mkdir(name, 0o700, dir_fd=shims)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)


def _state(identifier: str, container: str, group: cgroups.Group, process: Process) -> dict[str, Any]:
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
