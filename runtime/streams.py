"""The standard streams of a process, as its shim holds them: pipes with names, or the master of a terminal.

The pipes are FIFOs in the shim's folder.  The process has its output open for reading and writing, so that it never
gets SIGPIPE while a shim is being replaced, and the next shim opens the same pipes by their names.
"""

from __future__ import annotations

import os

from runtime import become, loop, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.jsonlog import JsonLog

_CHUNK = 32768
_INPUT_LIMIT = 64 << 10
_OUTPUTS = {"stdout": wire.STDOUT, "stderr": wire.STDERR}


def make_pipes(directory: int, *, stdin: bool) -> None:
    """Make the FIFOs in the shim's folder."""
    for name in ("stdin", "stdout", "stderr") if stdin else ("stdout", "stderr"):
        os.mkfifo(name, 0o600, dir_fd=directory)


def open_for_process(directory: int, *, stdin: bool) -> dict[str, int]:
    """Return the ends that the process gets."""
    found = {name: os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=directory) for name in _OUTPUTS}
    if stdin:
        found["stdin"] = os.open("stdin", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
        os.set_blocking(found["stdin"], True)
    return found


class Streams:
    """Moves output to the log and the clients, and clients' input to the process."""

    def __init__(self, events: loop.Loop, output: Callable[[int, bytes], None]) -> None:
        self._loop = events
        self._output = output
        self._outputs: dict[int, int] = {}
        self._input = -1
        self._pending = bytearray()
        self._ending = False
        self._terminal = -1
        self._slave = -1
        self._open = True
        self.log: JsonLog | None = None
        self.on_input_room: Callable[[bool], None] = lambda room: None
        self.on_input_closed: Callable[[], None] = lambda: None

    def open_pipes(self, directory: int, *, stdin: bool) -> None:
        """Open our ends.  A process that has closed its standard input has none to write to."""
        for name, stream in _OUTPUTS.items():
            descriptor = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            self._outputs[descriptor] = stream
        if stdin:
            try:
                self._input = os.open("stdin", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            except OSError:
                self._input = -1
        self._watch_outputs()

    def open_terminal(self, master: int) -> None:
        """Take the master of a terminal.  A slave end of our own keeps it usable while no process has it open."""
        os.set_blocking(master, False)
        self._terminal = self._input = master
        self._slave = become.open_slave(master)
        self._outputs[master] = wire.STDOUT
        self._watch_outputs()

    def keeper(self) -> int:
        """Return the descriptor that the daemon holds as well, so that our death ends no input; -1 for none."""
        return self._input

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal >= 0:
            become.set_size(self._terminal, rows, columns)

    def flow(self, *, open_: bool) -> None:
        self._open = open_
        self._watch_outputs()

    def write(self, data: bytes) -> None:
        """Send *data* to the process as it takes it."""
        if self._input < 0 or self._ending:
            return
        self._pending += data
        self._push()
        if len(self._pending) > _INPUT_LIMIT:
            self.on_input_room(False)

    def end_input(self) -> None:
        """Close standard input when all that was written has gone.  A terminal has no end of input."""
        if self._terminal < 0 and self._input >= 0:
            self._ending = True
            self._push()

    def drain(self) -> None:
        """Read what the ended process has left, log it all, and let everything go."""
        if self._slave >= 0:
            os.close(self._slave)  # from now on the terminal tells its end
        for descriptor in list(self._outputs):
            while self._read(descriptor):
                pass
        if self.log is not None:
            self.log.close()
        self._close_input()
        for descriptor in list(self._outputs):
            self._close_output(descriptor)

    def _watch_outputs(self) -> None:
        for descriptor in self._outputs:
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        events = loop.READ if self._open and descriptor in self._outputs else 0
        if descriptor == self._input and self._pending:
            events |= loop.WRITE
        if events:
            self._loop.watch(descriptor, events, lambda seen: self._ready(descriptor, seen))
        else:
            self._loop.forget(descriptor)

    def _ready(self, descriptor: int, events: int) -> None:
        if events & loop.WRITE or (events & loop.GONE and descriptor not in self._outputs):
            self._push()
        if events & loop.READ and descriptor in self._outputs:
            self._read(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Move one chunk; return whether there was one."""
        try:
            data = os.read(descriptor, _CHUNK)
        except OSError:  # nothing now, or the terminal's last user has gone
            return False
        if not data:
            return False
        stream = self._outputs[descriptor]
        if self.log is not None:
            self.log.write(stream, data)
        self._output(stream, data)
        return True

    def _push(self) -> None:
        full = len(self._pending) > _INPUT_LIMIT
        try:
            while self._pending:
                del self._pending[: os.write(self._input, self._pending[:4096])]
        except BlockingIOError:
            pass
        except OSError:  # the process has closed its end
            self._pending.clear()
            self._ending = True
        if self._ending and not self._pending:
            self._close_input()
            self.on_input_closed()
        elif self._input >= 0:
            self._watch(self._input)
        if full and len(self._pending) <= _INPUT_LIMIT:
            self.on_input_room(True)

    def _close_input(self) -> None:
        if self._input >= 0 and self._input != self._terminal:
            self._loop.forget(self._input)
            os.close(self._input)
        self._input = -1

    def _close_output(self, descriptor: int) -> None:
        del self._outputs[descriptor]
        self._loop.forget(descriptor)
        os.close(descriptor)
