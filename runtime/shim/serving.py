"""The shim from the first event of its process on: forwards the streams, writes the log, reports the exit."""

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
    from runtime.frames import ShimState
    from runtime.kernel import cgroups

_SIZE = struct.Struct("<HH")
LINGER = 2.0
"""Seconds for which the output of children of the ended process is still read, as in Docker."""


class Shim:
    """Serves one process until it has ended and its clients have got all output and the exit status."""

    def __init__(self, state: ShimState, ends: dict[str, int]) -> None:
        self.state = state
        self.ended = False
        self.loop = event_loop.Loop()
        self.clients = Clients(self, self.loop, _socket.socket(fileno=ends["listener"]))
        self.streams = streams.Streams(self.loop, self._output, ends)
        self.streams.on_input_room = self._input_room
        self.streams.on_input_closed = self._input_closed
        self._log: JsonLog | None = None

    def describe(self) -> tuple[bytes, tuple[int, ...]]:
        kept_input = self.streams.input_descriptor()
        return frames.pack_state(self.state), (kept_input,) if kept_input >= 0 else ()

    def command(self, kind: int, payload: bytes) -> None:
        if kind == frames.STDIN:
            self.streams.write(payload)
        elif kind == frames.STDIN_END:
            self.streams.end_input()
        elif kind == frames.RESIZE:
            self.streams.resize(*_SIZE.unpack(payload))

    def client_closed(self, client: Client) -> None:
        if client.streams & IN and self.state["stdin_once"]:
            self.streams.end_input()

    def set_reading(self, *, enabled: bool) -> None:
        self.streams.set_reading(enabled=enabled)

    def serve(self, daemon: _socket.socket, pidfd: int) -> None:
        """Handle events until the process has ended; *daemon* is the connection of the daemon that started it."""
        self.loop.watch(pidfd, event_loop.READ, self._on_end)
        client = self.clients.add(daemon)
        client.subscribed = True
        # Before any output is read: clients that attached before the start get all of it.
        self.clients.accept_pending()
        self.streams.start()
        while not self.ended:
            self._poll()
        self.loop.unwatch(pidfd)

    def finish(self, group: cgroups.Group, shims: int, code: int, error: str = "") -> None:
        """Read and log the remaining output, record the exit, report it, and remove all but the record."""
        self._read_rest()
        if self._log is not None:
            self._log.close()
        killed = self._remove_group(group) if self.state["id"] == self.state["container"] else False
        status = (code, shimdir.now(), killed, error)
        shimdir.write_end(shims, self.state["id"], status)
        # From here on the next start may use the name of the socket.
        self.clients.stop_listening()
        self.clients.notify_subscribers(frames.ENDED, frames.pack(status))
        self.clients.end_output()
        while not self.clients.idle():
            self._poll()
        self.clients.close()

    def _read_rest(self) -> None:
        """Read the output of the process and its children until they close it, for at most LINGER seconds."""
        self.streams.process_ended()
        deadline = time.monotonic() + LINGER
        while self.streams.reading and (left := deadline - time.monotonic()) > 0:
            self.loop.poll(left)
        self.streams.close()

    def _poll(self) -> None:
        self.loop.poll(self.clients.poll_timeout())
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
        except OSError:  # the folder was removed; the process continues without a log
            self.state["log"] = ("", -1, 1)

    def _input_room(self, room: bool) -> None:
        self.clients.pause_input(not room)

    def _input_closed(self) -> None:
        self.clients.notify_subscribers(frames.STDIN_END)

    def _remove_group(self, group: cgroups.Group) -> bool:
        """Kill the processes left in the control group and remove it; return whether the OOM killer was active in it.

        Processes are left only if the container shares its process namespace: otherwise the kernel has ended them.
        """
        killed = group.oom_kills() > 0
        try:
            group.kill()
            group.remove()
        except (OSError, TimeoutError):
            pass  # the daemon retries, and reports the error
        return killed


def exit_code(status: int) -> int:
    """Return the exit code of a wait status as Docker reports it: 128 + signal for a killed process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
