"""Docker's progress messages of pull and push, collected for a client that may read slowly.  Pure.

Messages about the bytes of a transfer replace older ones of the same transfer that were not read yet, so the number of
messages that wait is bounded by the number of layers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]
_INTERVAL = 0.1
"""Seconds between two messages about the bytes of one transfer, as in Docker."""
_BAR = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Report:
    """The messages of one operation.  Used in the event loop's thread only."""

    def __init__(self) -> None:
        self._waiting: dict[str, Message] = {}
        self._number = 0
        self._latest: dict[str, float] = {}
        self._arrived = asyncio.Event()

    def status(self, text: str, identifier: str = "", **more: Any) -> None:
        """Add a message; with *identifier*, it is about that layer."""
        message: Message = {"status": text}
        if identifier:
            message |= {"progressDetail": {}, "id": identifier}
        self.message(message | more)

    def message(self, message: Message) -> None:
        self._number += 1
        self._waiting[str(self._number)] = message
        self._arrived.set()

    def moved(self, text: str, identifier: str, current: int, total: int) -> None:
        """Add a message about the bytes of a transfer, unless the last one is too recent."""
        key = f"{text} {identifier}"
        now = time.monotonic()
        if now - self._latest.get(key, 0.0) < _INTERVAL and current < total:
            return
        self._latest[key] = now
        self._waiting.pop(key, None)
        detail = {"current": current, "total": total}
        self._waiting[key] = {
            "status": text, "progressDetail": detail, "progress": bar(current, total), "id": identifier
        }  # fmt: skip
        self._arrived.set()

    def retrying(self, seconds: float, identifier: str) -> None:
        rounded = max(1, round(seconds))
        self.status(f"Retrying in {rounded} second{'s' * (rounded != 1)}", identifier)

    def mover(self, text: str, identifier: str) -> Callable[[int, int], None]:
        return lambda current, total: self.moved(text, identifier, current, total)

    async def next(self) -> list[Message]:
        """Wait for messages, and return all that wait, in order."""
        await self._arrived.wait()
        return self.take()

    def take(self) -> list[Message]:
        self._arrived.clear()
        messages, self._waiting = list(self._waiting.values()), {}
        return messages


def bar(current: int, total: int) -> str:
    """Return the bar that Docker sends beside the numbers."""
    if total <= 0:
        return f"{human(current):>8}"
    done = min(_BAR, current * 100 // total // 2)
    drawn = "=" * done + ">" + " " * (_BAR - done)
    return f"[{drawn}] {human(current):>8}" + (f"/{human(total)}" if current <= total else "")


def human(size: float) -> str:
    """Return a size with four significant digits: ``1.986MB``."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"
