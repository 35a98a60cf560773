"""Reads the logs and the events of several containers in threads, and hands them to the main thread in a queue.

The main thread prints, so that lines never mix, and reacts to signals while it waits.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from netd.cli import signal_waits
from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from netd.cli.transport.http import Client
    from netd.compose.plan.existing import ExistingContainer

    Json = dict[str, Any]

_LONGEST_LINE = 1 << 20
"""A longer line is printed in pieces."""


class LogLine:
    """A line of a container's output, without its end."""

    __slots__ = ("container", "data", "error")

    def __init__(self, container: str, data: bytes, error: bool) -> None:
        self.container, self.data, self.error = container, data, error


class LogEnd:
    """The end of a container's output; ``fault`` is set if it could not be read."""

    __slots__ = ("container", "fault")

    def __init__(self, container: str, fault: str = "") -> None:
        self.container, self.fault = container, fault


class ContainerEvent:
    """An event of a container, as ``GET /events`` reports it."""

    __slots__ = ("action", "attributes", "container", "nanoseconds")

    def __init__(self, event: Json) -> None:
        actor = event.get("Actor") or {}
        self.action: str = event.get("Action") or ""
        self.container: str = actor.get("ID") or ""
        self.attributes: dict[str, str] = actor.get("Attributes") or {}
        self.nanoseconds: int = event.get("timeNano") or 0


class StartEnd:
    """The end of the thread that starts containers."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Interruption:
    """The user has pressed Ctrl-C."""


class Notice:
    """A line about the session for the user; without text, a sign that something else than containers has changed."""

    __slots__ = ("text",)

    def __init__(self, text: str = "") -> None:
        self.text = text


class Detachment:
    """The user leaves the session, and the containers keep running."""


Message = LogLine | LogEnd | ContainerEvent | StartEnd | Interruption | Notice | Detachment | None


class LogFollower:
    """``messages`` are of the classes above, or None for the end of the events."""

    def __init__(self, engine: Client) -> None:
        self._engine = engine
        self.messages: SimpleQueue[Message] = SimpleQueue()

    def follow(self, container: ExistingContainer | str, tty: bool, query: Sequence[tuple[str, str]]) -> None:
        """Read the log of a container in a thread; *query* are the parameters of ``GET /containers/ID/logs``."""
        id = container if isinstance(container, str) else container.id
        threading.Thread(target=self._read, args=(id, tty, query), daemon=True).start()

    def watch(self, filters: str) -> None:
        """Read events in a thread from now on."""
        response = self._engine.call("GET", "/events", query=(("filters", filters),))

        def read() -> None:
            from json import loads

            try:
                for line in response.lines():
                    self.messages.put(ContainerEvent(loads(line)))
            except (Fault, OSError, ValueError):
                pass
            self.messages.put(None)

        threading.Thread(target=read, daemon=True).start()

    def next(self) -> Message:
        """Wait for the next message."""
        return signal_waits.take(self.messages)

    def _read(self, id: str, tty: bool, query: Sequence[tuple[str, str]]) -> None:
        try:
            parameters = (("stdout", "1"), ("stderr", "1"), *query)
            response = self._engine.call("GET", f"/containers/{id}/logs", query=parameters)
            for error, line in _lines(response.chunks(), tty):
                self.messages.put(LogLine(id, line, error))
        except (Fault, OSError) as fault:
            self.messages.put(LogEnd(id, str(fault)))
        else:
            self.messages.put(LogEnd(id))


def _lines(chunks: Iterator[bytes], tty: bool) -> Iterator[tuple[bool, bytes]]:
    """Yield (whether of standard error, line) of a log."""
    from netd.cli.transport.stream_frames import Frames

    frames = Frames()
    pending = {1: b"", 2: b""}
    for chunk in chunks:
        for stream, piece in ((1, chunk),) if tty else frames.feed(chunk):
            which = 2 if stream == 2 else 1
            *whole, rest = (pending[which] + piece).split(b"\n")
            yield from ((which == 2, line.removesuffix(b"\r")) for line in whole)
            if len(rest) > _LONGEST_LINE:
                yield which == 2, rest
                rest = b""
            pending[which] = rest
    yield from ((which == 2, rest) for which, rest in pending.items() if rest)
