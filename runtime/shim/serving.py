"""What a shim does for its process once it is awake: moves the streams, keeps the log, reports the end."""

from __future__ import annotations

import _socket
import os
import struct
import time

from runtime import frames
from runtime.shim import event_loop, shimdir, streams
from runtime.shim.clients import IN, Client, Clients
from runtime.shim.jsonlog import JsonLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.kernel import cgroups

_SIZE = struct.Struct("<HH")
LINGER = 2.0
"""Seconds for which output of the ended process's children is still read, as in Docker."""


class Shim:
    """Serves one process until it has ended and everybody has been told."""

    def __init__(self, state: dict[str, Any], ends: dict[str, int]) -> None:
        self.state = state
        self.ended = False
        self.loop = event_loop.Loop()
        self.clients = Clients(self, self.loop, _socket.socket(fileno=ends["listener"]))
        self.streams = streams.Streams(self.loop, self._output, ends)
        self.streams.on_input_room = self._input_room
        self.streams.on_input_closed = self._input_closed
        self._log: JsonLog | None = None

    def describe(self) -> tuple[bytes, tuple[int, ...]]:
        keeper = self.streams.keeper()
        return frames.pack(self.state), (keeper,) if keeper >= 0 else ()

    def command(self, kind: int, payload: bytes) -> None:
        if kind == frames.STDIN:
            self.streams.write(payload)
        elif kind == frames.STDIN_END:
            self.streams.end_input()
        elif kind == frames.RESIZE:
            self.streams.resize(*_SIZE.unpack(payload))

    def lost(self, client: Client) -> None:
        if client.streams & IN and self.state["stdin_once"]:
            self.streams.end_input()

    def flow(self, *, open_: bool) -> None:
        self.streams.flow(open_=open_)

    def serve(self, daemon: _socket.socket, pidfd: int) -> None:
        """Handle everything until the process has ended; *daemon* is the one that started it."""
        self.loop.watch(pidfd, event_loop.READ, self._on_end)
        client = self.clients.add(daemon)
        client.waits = True
        # Those who attached before the start miss nothing.
        self.clients.accept_waiting()
        self.streams.begin()
        while not self.ended:
            self._turn()
        self.loop.forget(pidfd)

    def finish(self, group: cgroups.Group, shims: int, code: int, error: str = "") -> None:
        """Log what is left, record the exit, tell all, and leave only the record behind."""
        self._read_rest()
        if self._log is not None:
            self._log.close()
        killed = self._clear_group(group) if self.state["id"] == self.state["container"] else False
        status = (code, shimdir.now(), killed, error)
        shimdir.write_end(shims, self.state["id"], status)
        # From here on the name may be taken by the next start.
        self.clients.stop_listening()
        self.clients.tell_waiting(frames.ENDED, frames.pack(status))
        self.clients.end_output()
        while not self.clients.idle():
            self._turn()
        self.clients.close()

    def _read_rest(self) -> None:
        """Read what the process has left, and what its children write, until they close it or time is up."""
        self.streams.expect_end()
        deadline = time.monotonic() + LINGER
        while self.streams.reading and (left := deadline - time.monotonic()) > 0:
            self.loop.turn(left)
        self.streams.close()

    def _turn(self) -> None:
        self.loop.turn(self.clients.patience())
        self.clients.drop_stalled()

    def _on_end(self, _events: int) -> None:
        self.ended = True

    def _output(self, stream: int, data: bytes) -> None:
        if self._log is None and self.state["log"][0]:
            self._open_log()
        if self._log is not None:
            self._log.write(stream, data)
        self.clients.output(stream, data)

    def _open_log(self) -> None:
        try:
            self._log = JsonLog(*self.state["log"])
        except OSError:  # its folder is gone: nobody will read it, and the process is to go on
            self.state["log"] = ("", -1, 1)

    def _input_room(self, room: bool) -> None:
        self.clients.pause_input(not room)

    def _input_closed(self) -> None:
        self.clients.tell_waiting(frames.STDIN_END)

    def _clear_group(self, group: cgroups.Group) -> bool:
        """Remove the control group; return whether memory ran out in it.

        Processes are left in it when the process namespace is shared with others; they end with the first one.
        """
        killed = group.oom_kills() > 0
        try:
            group.kill()
            group.remove()
        except (OSError, TimeoutError):
            pass  # the daemon tries again, and says what is wrong
        return killed


def exit_code(status: int) -> int:
    """Return what Docker reports: the program's own code, or 128 and the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
