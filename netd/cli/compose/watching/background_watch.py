"""Watches files in a thread beside an attached session, and can be switched off and on again."""

from __future__ import annotations

import select
import threading

from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from netd.cli.compose.watching.watch_session import WatchSession

_SLICE_MILLISECONDS = 200


class BackgroundWatch:
    """*show* is called with each line for the user."""

    def __init__(self, watching: WatchSession, show: Callable[[str], None]) -> None:
        self._watching, self._show = watching, show
        self._ended: threading.Event | None = None
        """Set to end the thread; None while none runs."""

    def toggle(self) -> None:
        """Begin to watch, or end it."""
        if self._ended is not None:
            self.end()
            self._show("Watch disabled")
            return
        self._ended = ended = threading.Event()
        threading.Thread(target=self._run, args=(ended,), daemon=True).start()

    def end(self) -> None:
        """Apply no further changes."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def _run(self, ended: threading.Event) -> None:
        def wait(fd: int, milliseconds: int | None) -> None:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if milliseconds is not None:
                poll.poll(milliseconds)
                return
            while not ended.is_set() and not poll.poll(_SLICE_MILLISECONDS):
                pass

        try:
            self._watching.run(wait, ended.is_set)
        except (Fault, OSError) as error:
            self._show(f"Watch disabled with errors: {error}")
            self.end()
