"""The messages of a build, in the order of the Dockerfile although stages are built side by side.

The first stage that is not finished writes to the client; later ones are buffered, and wait when their buffer is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

Send = Callable[[Mapping[str, object]], Awaitable[None]]

_BUFFERED = 1 << 20


class StageOutput:
    """The messages of one stage."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = asyncio.Lock()
        self._buffer: list[Mapping[str, object]] = []
        self._size = 0
        self._turn = asyncio.Event()
        self.finished = False

    async def text(self, text: str) -> None:
        await self.message({"stream": text}, len(text))

    async def message(self, message: Mapping[str, object], size: int = 100) -> None:
        async with self._lock:
            if self._turn.is_set():
                await self._send(message)
                return
            self._buffer.append(message)
            self._size += size
        if self._size > _BUFFERED:
            await self._turn.wait()

    async def open(self) -> None:
        """Send what is buffered; later messages are sent at once."""
        async with self._lock:
            if not self._turn.is_set():
                for message in self._buffer:
                    await self._send(message)
                self._buffer.clear()
                self._turn.set()


class BuildOutput:
    """The messages of all stages of a build; with *quiet*, none are sent."""

    def __init__(self, send: Send, stages: int, *, quiet: bool) -> None:
        self._send = _discard if quiet else send
        self._send_always = send
        self.stages = [StageOutput(self._send) for _ in range(stages)]

    async def begin(self) -> None:
        await self.stages[0].open()

    async def finish(self, stage: StageOutput) -> None:
        """End a stage; the next one that is not finished may send."""
        stage.finished = True
        for other in self.stages:
            await other.open()
            if not other.finished:
                return

    async def text(self, text: str) -> None:
        await self._send({"stream": text})

    async def result(self, message: Mapping[str, object]) -> None:
        """Send a message also if the build is quiet."""
        await self._send_always(message)


async def _discard(_: Mapping[str, object]) -> None:
    return None
