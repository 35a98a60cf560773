"""The process that stays beside each process of a container: its streams, its log, its exit status.

A shim is forked by the zygote, has a session of its own and no tie to the daemon, which may come and go.  It begins in
one of three ways: as a spare that becomes a container's, for an exec, or as the successor of a shim that was killed.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import struct

from runtime import birth, cgroups, devices, linux, loop, shimdir, streams, wire
from runtime.clients import IN, Client, Clients, unlink
from runtime.jsonlog import JsonLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from runtime.spec import Container, Process

_SIZE = struct.Struct("<HH")
_REAPED_MILLISECONDS = 5000


class Shim:
    """Serves one running process until it has ended and everybody has been told."""

    def __init__(self, directory: int, group: cgroups.Group, state: dict[str, Any]) -> None:
        self.directory = directory
        self.group = group
        self.state = state
        self.asked = False
        self.started = False
        self.ended = False
        self.loop = loop.Loop()
        self.clients = Clients(self, self.loop)
        self.streams = streams.Streams(self.loop, self.clients.output)
        self.streams.on_input_room = lambda room: self.clients.pause_input(not room)
        self.streams.on_input_closed = lambda: self.clients.tell_waiting(wire.STDIN_END)
        self.control: Client | None = None

    def open_pipes(self, process: Process) -> dict[str, int]:
        """Make and open the pipes of a process without a terminal; return its ends."""
        if process.tty:
            return {}
        streams.make_pipes(self.directory, stdin=process.stdin)
        return streams.open_for_process(self.directory, stdin=process.stdin)

    def open_log(self) -> None:
        path, max_size, max_files = self.state["log"]
        if path:
            self.streams.log = JsonLog(path, max_size, max_files)

    def open_streams(self, master: int) -> None:
        """Open our ends: the terminal by its master, or the pipes by their names."""
        if master >= 0:
            self.streams.open_terminal(master)
        elif not self.state["tty"]:
            self.streams.open_pipes(self.directory, stdin=self.state["stdin"])

    def describe(self) -> tuple[bytes, tuple[int, ...]]:
        keeper = self.streams.keeper()
        return wire.pack(self.state), (keeper,) if keeper >= 0 else ()

    def command(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == wire.STDIN:
            self.streams.write(payload)
        elif kind == wire.STDIN_END:
            self.streams.end_input()
        elif kind == wire.RESIZE:
            self.streams.resize(*_SIZE.unpack(payload))
        elif kind == wire.GO and client is self.control:
            self.asked = True

    def lost(self, client: Client) -> None:
        if client is self.control and not self.started:
            raise birth.Failed("the daemon has gone before the process was started")
        if client.streams & IN and self.state["stdin_once"]:
            self.streams.end_input()

    def flow(self, *, open_: bool) -> None:
        self.streams.flow(open_=open_)

    def serve_until_go(self) -> None:
        """Handle clients until the daemon says go.  Raises Failed when it leaves instead."""
        while not self.asked:
            self._turn()

    def tell_started(self) -> None:
        assert self.control is not None
        self.started = True
        self.clients.send(self.control, wire.STARTED, *self.describe())

    def serve_until_end(self, pidfd: int) -> None:
        """Handle everything until the process has ended."""
        self.loop.watch(pidfd, loop.READ, self._on_end)
        while not self.ended:
            self._turn()
        self.loop.forget(pidfd)

    def finish(self, code: int, shims: int, error: str = "") -> None:
        """Log what is left, record the exit, tell all, and leave only the record behind."""
        first = self.state["id"] == self.state["container"]
        killed = first and self.group.oom_kills() > 0
        self.streams.drain()
        if first:
            self._clear_group()
        status = (code, shimdir.now(), killed, error)
        shimdir.write_exit(self.directory, status)
        # From here on the name may be taken by the next start.
        self.clients.stop_listening()
        unlink(shims, self.state["id"] + shimdir.SOCKET_SUFFIX)
        self.clients.tell_waiting(wire.ENDED, wire.pack(status))
        while not self.clients.idle():
            self._turn()
        self.clients.close()

    def _turn(self) -> None:
        self.loop.turn(self.clients.patience())
        self.clients.drop_stalled()

    def _on_end(self, _events: int) -> None:
        self.ended = True

    def _clear_group(self) -> None:
        """Remove the control group; one with processes left, of a shared process namespace, stays for the daemon."""
        try:
            self.group.remove()
        except OSError:
            return


def spare(control: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Keep a first process ready, and serve the container that the daemon asks for."""
    _settle()
    made = birth.Birth(hierarchies)
    try:
        made.wait_ready()
        wire.send(control, wire.READY)
        _kind, payload, _none = wire.receive(control)
        _serve_container(control, made, payload, shims)
    except Exception as problem:
        made.undo()
        _report(control, problem)
    os._exit(0)


def bare(control: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Serve an exec, or a process whose shim was killed, as the daemon says."""
    _settle()
    try:
        kind, payload, descriptors = wire.receive(control)
        serve = _serve_exec if kind == wire.EXEC else _serve_adopted
        serve(control, hierarchies, shims, payload, descriptors)
    except Exception as problem:
        _report(control, problem)
    os._exit(0)


def _settle() -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _report(control: _socket.socket, problem: Exception) -> None:
    """Tell the daemon, if it is still there, why nothing has come of it."""
    code = problem.code if isinstance(problem, birth.Failed) else 128
    try:
        control.setblocking(True)
        wire.send(control, wire.FAILED, wire.pack((code, str(problem))))
    except OSError:
        return


def _serve_container(control: _socket.socket, made: birth.Birth, payload: bytes, shims: int) -> None:
    spec = wire.unpack_container(payload)
    made.suit(spec)
    made.take_name(spec)
    directory = _make_directory(shims, spec.id)
    try:
        shim = Shim(directory, made.group, _state(spec.id, spec.id, made.group, spec.process, log=_log_of(spec)))
        stdio = shim.open_pipes(spec.process)
        nodes = birth.find_nodes(spec)
        made.deliver(spec, payload, [node for node, _access in nodes], stdio)
        made.limit(spec, devices.rules_for(nodes, spec.limits.device_rules))
        shim.open_log()
        _run(shim, made, control, shims)
    except (OSError, birth.Failed):
        shimdir.remove(shims, spec.id)
        raise


def _serve_exec(
    control: _socket.socket,
    hierarchies: Sequence[cgroups.Hierarchy],
    shims: int,
    payload: bytes,
    descriptors: list[int],
) -> None:
    packed, name, container, exec_id = wire.unpack_tuple(payload)
    process = wire.unpack_process(packed)
    group = cgroups.Group(hierarchies, name)
    directory = _make_directory(shims, exec_id)
    try:
        shim = Shim(directory, group, _state(exec_id, container, group, process))
        stdio = shim.open_pipes(process)
        made = birth.Joining(group, descriptors[0], process, [stdio.get(n, -1) for n in ("stdin", "stdout", "stderr")])
        wire.close_all([*stdio.values(), *descriptors])
        try:
            _run(shim, made, control, shims)
        except (OSError, birth.Failed):
            made.undo()
            raise
    except (OSError, birth.Failed):
        shimdir.remove(shims, exec_id)
        raise


def _run(shim: Shim, made: birth.Waiting, control: _socket.socket, shims: int) -> None:
    """Say that the process is ready, start it at the word, and stay until its end."""
    master = made.wait_prepared()
    shim.open_streams(master)
    shim.state.update(pid=made.pid, start_time=shimdir.start_time(made.pid))
    shim.clients.listen(shims, shim.state["id"] + shimdir.SOCKET_SUFFIX)
    shim.control = shim.clients.add(control)
    shim.control.waits = True
    shim.clients.send(shim.control, wire.PREPARED, *shim.describe())
    pidfd = os.pidfd_open(made.pid)
    shim.serve_until_go()
    shim.state["started"] = shimdir.now()
    shimdir.write_state(shim.directory, shim.state)
    made.go()
    shim.tell_started()
    shim.serve_until_end(pidfd)
    _pid, status = os.waitpid(made.pid, 0)
    shim.finish(exit_code(status), shims)


def _serve_adopted(
    control: _socket.socket,
    hierarchies: Sequence[cgroups.Hierarchy],
    shims: int,
    payload: bytes,
    descriptors: list[int],
) -> None:
    """Take over from a shim that was killed: same pipes, same log, another parent."""
    state: dict[str, Any] = wire.unpack(payload)  # type: ignore[assignment]
    pidfd, *keeper = descriptors
    directory = os.open(state["id"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)
    shim = Shim(directory, cgroups.Group(hierarchies, state["group"]), state)
    shim.open_log()
    shim.open_streams(keeper[0] if keeper else -1)
    if not state["tty"]:
        wire.close_all(keeper)
    unlink(shims, state["id"] + shimdir.SOCKET_SUFFIX)
    shim.clients.listen(shims, state["id"] + shimdir.SOCKET_SUFFIX)
    shim.control = shim.clients.add(control)
    shim.control.waits = True
    shim.tell_started()
    shim.serve_until_end(pidfd)
    status = _status_of_stranger(shim, pidfd)
    if status is None:
        shim.finish(255, shims, "its shim was killed, and the kernel does not tell the exit status of others' children")
    else:
        shim.finish(exit_code(status), shims)


def _status_of_stranger(shim: Shim, pidfd: int) -> int | None:
    """Return the wait status of a process that is not our child, once its parent has collected it."""
    reaped = select.poll()
    reaped.register(pidfd, 0)
    reaped.poll(_REAPED_MILLISECONDS)
    return linux.exit_status(pidfd)


def exit_code(status: int) -> int:
    """Return what Docker reports: the program's own code, or 128 and the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _make_directory(shims: int, name: str) -> int:
    os.mkdir(name, 0o700, dir_fd=shims)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)


def _state(
    identifier: str, container: str, group: cgroups.Group, process: Process, log: tuple[str, int, int] = ("", -1, 1)
) -> dict[str, Any]:
    return {
        "id": identifier,
        "container": container,
        "group": group.name,
        "tty": process.tty,
        "stdin": process.stdin,
        "stdin_once": process.stdin_once,
        "log": log,
        "started": "",
        "pid": 0,
        "start_time": 0,
    }


def _log_of(spec: Container) -> tuple[str, int, int]:
    return spec.log_path, spec.log_max_size, spec.log_max_files
