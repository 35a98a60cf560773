"""Shows Docker's progress messages: a bar per layer on a terminal, lines elsewhere.

The texts come from registries and archives, so control characters in them are escaped.
"""

from __future__ import annotations

import sys

from netd.cli.errors import Fault
from netd.cli.output.columns import escape_control
from netd.cli.output.human import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from rich.progress import Progress, TaskID

    Json = dict[str, Any]

_ENDS = ("Pull complete", "Already exists", "Pushed", "Layer already exists", "Mounted from")


def show(lines: Iterable[bytes], output: TextIO | None = None, *, quiet: bool = False) -> list[Json]:
    """Show the messages, unless *quiet*, and return the contents of their fields ``aux``.

    Raises Fault for an error of the daemon.
    """
    from json import loads

    output = output or sys.stdout
    found: list[Json] = []
    shown: Lines | Bars = Bars(output) if output.isatty() and not quiet else Lines(output, quiet)
    try:
        for line in lines:
            message = loads(line)
            if error := message.get("error"):
                raise Fault(escape_control(str(error)))
            if aux := message.get("aux"):
                found.append(aux)
            shown.add(message)
    finally:
        shown.close()
    return found


class Lines:
    """A line for each message, except those about the bytes of a transfer."""

    def __init__(self, output: TextIO, quiet: bool = False) -> None:
        self._output, self._quiet = output, quiet

    def add(self, message: Json) -> None:
        text = _text(message)
        if not self._quiet and text and not message.get("progressDetail"):
            self._output.write(f"{text}\n")
            self._output.flush()

    def close(self) -> None:
        """Nothing is left to do."""


class Bars:
    """A bar for each layer, below the lines without a layer."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def add(self, message: Json) -> None:
        identifier = str(message.get("id") or "")
        if not identifier or "progressDetail" not in message:
            self._line(_text(message))
            return
        progress = self._progress or self._start()
        status = escape_control(str(message.get("status") or ""))
        task = self._tasks.get(identifier)
        if task is None:
            layer = escape_control(identifier)
            task = self._tasks[identifier] = progress.add_task(status, total=None, layer=layer, bytes="")
        detail = message["progressDetail"] or {}
        current, total = detail.get("current", 0), detail.get("total")
        if total:
            moved = f"{size(current)}/{size(total)}"
            progress.update(task, description=status, completed=min(current, total), total=total, bytes=moved)
        elif status.startswith(_ENDS):
            progress.update(task, description=status, completed=1, total=1, bytes="")
        else:
            progress.update(task, description=status)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _line(self, text: str) -> None:
        if not text:
            return
        if self._progress is None:
            self._output.write(f"{text}\n")
            self._output.flush()
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[layer]}:", markup=False),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=40),
            TextColumn("{task.fields[bytes]}", markup=False),
            console=Console(file=self._output),
        )
        self._progress.start()
        return self._progress


def _text(message: Json) -> str:
    status = message.get("status") or message.get("stream") or ""
    text = escape_control(str(status).rstrip("\n"))
    identifier = message.get("id")
    return f"{escape_control(str(identifier))}: {text}" if identifier and text else text
