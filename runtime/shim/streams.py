"""The standard streams of a process, as its shim serves them."""

from __future__ import annotations

import os

from runtime import frames
from runtime.init import credentials
from runtime.shim import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 32768
_INPUT_LIMIT = 64 << 10
_WRITE = 16384
_PIPE = 1 << 20
"""The largest size of a pipe without CAP_SYS_RESOURCE (/proc/sys/fs/pipe-max-size)."""
_OUTPUTS = {"stdout": frames.STDOUT, "stderr": frames.STDERR}


class Streams:
    """Forwards output to a callback, and clients' input to the process."""

    def __init__(self, events: event_loop.Loop, output: Callable[[int, bytes], None], ends: dict[str, int]) -> None:
        """*ends*: descriptors by name; ``stdout``, ``stderr`` and optionally ``stdin``, or ``master`` and ``slave``."""
        self._loop = events
        self._output = output
        self._terminal = ends.get("master", -1)
        self._slave = ends.get("slave", -1)
        self._input = ends.get("stdin", self._terminal)
        self._outputs = {ends[name]: stream for name, stream in _OUTPUTS.items() if name in ends}
        if self._terminal >= 0:
            self._outputs[self._terminal] = frames.STDOUT
        self._pending = bytearray()
        self._ending = False
        self._enabled = True
        self.on_input_room: Callable[[bool], None] = lambda room: None
        self.on_input_closed: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Start reading the output."""
        self._watch_outputs()

    def input_descriptor(self) -> int:
        """Return the writing end of the input, -1 for none; the daemon holds it too, so that it outlives this shim."""
        return self._input

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal >= 0:
            credentials.set_size(self._terminal, rows, columns)

    def set_reading(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._watch_outputs()

    def write(self, data: bytes) -> None:
        """Buffer *data*, and write it as the process reads it."""
        if self._input < 0 or self._ending:
            return
        self._pending += data
        self._push()
        if len(self._pending) > _INPUT_LIMIT:
            self.on_input_room(False)

    def end_input(self) -> None:
        """Close standard input when all buffered data has been written.  A terminal is not closed."""
        if self._terminal < 0 and self._input >= 0:
            self._ending = True
            self._push()

    @property
    def reading(self) -> bool:
        """Return whether an output is still open for writing by a process."""
        return bool(self._outputs)

    def process_ended(self) -> None:
        """Read the remaining output; from now on an output ends when its last writer has closed it."""
        self._close_input()
        if self._slave >= 0:
            os.close(self._slave)
        else:
            self._stop_writing()
        self._read_available()
        self._watch_outputs()

    def close(self) -> None:
        """Read the available output, and close all descriptors."""
        self._read_available()
        for descriptor in list(self._outputs):
            self._close_output(descriptor)

    def _stop_writing(self) -> None:
        """Replace our ends, which are open for writing too, by ends for reading, which get an end of file."""
        for descriptor, stream in list(self._outputs.items()):
            reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._close_output(descriptor)
            self._outputs[reader] = stream

    def _read_available(self) -> None:
        """Read what the pipes hold now; bounded, because a child may write without end."""
        for descriptor in list(self._outputs):
            left = _PIPE
            while left > 0 and (taken := self._read(descriptor)):
                left -= taken

    def _watch_outputs(self) -> None:
        for descriptor in self._outputs:
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        events = event_loop.READ if self._enabled and descriptor in self._outputs else 0
        if descriptor == self._input and self._pending:
            events |= event_loop.WRITE
        if events:
            self._loop.watch(descriptor, events, lambda seen: self._ready(descriptor, seen))
        else:
            self._loop.unwatch(descriptor)

    def _ready(self, descriptor: int, events: int) -> None:
        if events & event_loop.WRITE or (events & event_loop.HANGUP and descriptor not in self._outputs):
            self._push()
        if events & (event_loop.READ | event_loop.HANGUP) and descriptor in self._outputs:
            self._read(descriptor)

    def _read(self, descriptor: int) -> int:
        """Forward one chunk; return its size, 0 if none is available."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        if not data:
            self._close_output(descriptor)
            return 0
        self._output(self._outputs[descriptor], data)
        return len(data)

    def _push(self) -> None:
        full = len(self._pending) > _INPUT_LIMIT
        try:
            while self._pending:
                del self._pending[: os.write(self._input, self._pending[:_WRITE])]
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
            self._loop.unwatch(self._input)
            os.close(self._input)
        self._input = -1

    def _close_output(self, descriptor: int) -> None:
        del self._outputs[descriptor]
        self._loop.unwatch(descriptor)
        os.close(descriptor)
