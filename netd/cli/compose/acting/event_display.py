"""Shows what happens to containers, networks, volumes and images: live lines on a terminal, plain lines elsewhere.

The words are those of Docker's compose.  All output goes to standard error; methods may be called by several threads.
"""

from __future__ import annotations

import sys
import threading
import time

from netd.cli.output.columns import escape_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from rich.live import Live

WORKING, DONE, WARNING, ERROR = "Working", "Done", "Warning", "Error"
MODES = ("auto", "tty", "plain", "json", "quiet")


class EventDisplay:
    """Context manager; ``mode`` is one of MODES, ``colours`` whether escape sequences may be used."""

    def __init__(
        self, mode: str = "auto", *, colours: bool = True, dry_run: bool = False, output: TextIO | None = None
    ) -> None:
        self._output = output or sys.stderr
        if mode == "auto":
            mode = "tty" if self._output.isatty() else "plain"
        self._mode, self._colours = mode, colours
        self._head = "DRY-RUN MODE - " if dry_run else ""
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._live: Live | None = None
        self.warnings: list[str] = []

    def __enter__(self) -> EventDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def event(self, subject: str, text: str, kind: str = WORKING, detail: str = "") -> None:
        """Show that *subject*, such as ``Container web-1``, is *text*, such as ``Creating``."""
        subject, detail = f"{self._head}{escape_control(subject)}", escape_control(detail)
        with self._lock:
            if self._mode == "tty":
                self._update(subject, text, kind, detail)
            elif self._mode == "json":
                self._write_json(id=subject, status=kind, text=text, details=detail)
            elif self._mode == "plain":
                self._write(f" {subject}  {text}{' ' if detail else ''}{detail}")

    def warn(self, message: str) -> None:
        """Show a warning, in every mode."""
        with self._lock:
            self._print(f"netctl: warning: {escape_control(message)}")

    def line(self, text: str) -> None:
        """Show a line of output that is not about an object, such as that of a build."""
        with self._lock:
            if self._mode != "quiet":
                self._print(escape_control(text))

    def become_plain(self) -> None:
        """Print plain lines from now on, because the output of programs would destroy live lines."""
        self.finish()
        if self._mode == "tty":
            self._mode = "plain"

    def finish(self) -> None:
        """Leave the lines as they are; later events begin new ones."""
        with self._lock:
            if self._live is not None:
                self._live.update(self._table(), refresh=True)
                self._live.stop()
            self._live = None
            self._lines = {}

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._write(text)

    def _write(self, text: str) -> None:
        sys.stdout.flush()
        self._output.write(f"{text}\n")
        self._output.flush()

    def _write_json(self, **fields: str) -> None:
        from json import dumps

        self._write(dumps({name: value for name, value in fields.items() if value}))

    def _update(self, subject: str, text: str, kind: str, detail: str) -> None:
        known = self._lines.get(subject)
        began = known.began if known is not None else time.monotonic()
        self._lines[subject] = _Line(text, kind, detail, began)
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._output, no_color=not self._colours or None)
            self._live = Live(
                console=console, refresh_per_second=10, get_renderable=self._table, vertical_overflow="visible"
            )
            self._live.start()

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        ended = sum(line.kind != WORKING for line in self._lines.values())
        table.add_row(Text(f"[+] {ended}/{len(self._lines)}"))
        for subject, line in list(self._lines.items()):
            mark, style = _MARKS[line.kind]
            words = f"{line.text} {line.detail}".strip()
            table.add_row(
                Text(f" {mark} {subject}"), Text(words, style=style), Text(f"{line.seconds():.1f}s", style="blue")
            )
        return table


class _Line:
    """The last event of an object, and the time since the first."""

    def __init__(self, text: str, kind: str, detail: str, began: float) -> None:
        self.text, self.kind, self.detail, self.began = text, kind, detail, began
        self._ended = None if kind == WORKING else time.monotonic()

    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self.began


_MARKS = {WORKING: ("⠿", ""), DONE: ("✔", "green"), WARNING: ("!", "yellow"), ERROR: ("✘", "red")}
