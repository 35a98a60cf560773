"""A process that a shim looks after, as the daemon sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from runtime import frames
from runtime.shim import clients, shimdir
from runtime.shim_client.channel import GONE, Channel, connect
from runtime.spec import ExitStatus, StartError, StreamLost

_CHUNK = 32768
_CUT_OFF = "the output was cut off because it was not read for too long, or because its shim was killed; attach again"


class ShimAttachment:
    """One client's view of the streams, over a connection of its own to the shim."""

    def __init__(self, channel: Channel, *, tells_end: bool) -> None:
        """*tells_end* is false for a shim of an earlier version, which only closes the connection."""
        self._channel = channel
        self._tells_end = tells_end

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            try:
                kind, payload = await self._channel.receive()
            except frames.Broken:
                if self._tells_end:
                    raise StreamLost(_CUT_OFF) from None
                return
            if kind == frames.OUTPUT:
                yield payload[0], payload[1:]
            elif kind == frames.OUTPUT_END:
                return
            elif kind == frames.STATE:
                self._tells_end = bool(payload)

    async def write(self, data: bytes) -> None:
        """Send to standard input; what the process no longer reads is lost."""
        with suppress(frames.Broken):
            for start in range(0, len(data), _CHUNK):
                await self._channel.send(frames.STDIN, data[start : start + _CHUNK])

    async def close_stdin(self) -> None:
        with suppress(frames.Broken):
            await self._channel.send(frames.STDIN_END)

    async def close(self) -> None:
        self._channel.close()


class ShimProcess:
    """See :class:`runtime.shim_client.supervisor.Running`.

    Holds a pidfd, so that signals reach this process or none, and the writing end of its input, so that the end of a
    shim is not the end of that.
    """

    def __init__(self, shims: int, channel: Channel | None, state: dict[str, Any]) -> None:
        """Without a *channel* the process has no shim, and needs :meth:`adopt_by`."""
        self.state = state
        self.id: str = state["id"]
        self.pid: int = state["pid"]
        self.started: str = state["started"]
        self._shims = shims
        self._channel = channel
        self._pidfd = _open_process(self.pid, state["start_time"])
        self._keeper = channel.take_descriptors() if channel else []
        self._exit: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    @property
    def group(self) -> str:
        found: str = self.state["group"]
        return found

    @property
    def lost(self) -> bool:
        """Whether the process could not be found when this was made."""
        return self._pidfd < 0

    @property
    def ended(self) -> bool:
        return self._exit.done()

    async def wait(self) -> ExitStatus:
        return await asyncio.shield(self._exit)

    async def attach(self, *, stdin: bool, stdout: bool = True, stderr: bool = True) -> ShimAttachment:
        """Raises ProcessLookupError when the process has ended."""
        try:
            channel = await connect(self._shims, self.id + shimdir.SOCKET_SUFFIX)
        except GONE:
            raise ProcessLookupError(f"process {self.pid} has ended") from None
        flags = (clients.IN if stdin else 0) | (clients.OUT if stdout else 0)
        flags |= clients.ERR if stderr and not self.state["tty"] else 0
        flags |= clients.KEEP if not self.started or not self.state["log"][0] else 0
        tells_end = False
        try:
            await channel.send(frames.ATTACH, bytes((flags,)))
            if self.started:
                # Before the start it is enough to have asked: the shim takes note of all before it reads any output.
                _kind, payload = await channel.receive()
                tells_end = bool(payload)
        except frames.Broken:
            channel.close()
            raise ProcessLookupError(f"process {self.pid} has ended") from None
        return ShimAttachment(channel, tells_end=tells_end)

    async def signal(self, number: int) -> None:
        if self.ended or self._pidfd < 0:
            raise ProcessLookupError(f"process {self.pid} has ended")
        signal.pidfd_send_signal(self._pidfd, number)

    async def resize(self, rows: int, columns: int) -> None:
        with suppress(frames.Broken):
            size = struct.pack("<HH", rows & 0xFFFF, columns & 0xFFFF)
            await self._shim().send(frames.RESIZE, size)

    async def release(self) -> None:
        """Let the program run.  Raises StartError; then nothing is left of the process."""
        try:
            await self._shim().send(frames.GO)
            kind, payload = await self._receive_past_notes()
        except frames.Broken:
            raise StartError("the shim was killed before the process was started") from None
        if kind == frames.FAILED:
            code, message = frames.unpack_tuple(payload)
            raise StartError(message, code)
        self._take_state(payload)

    async def follow(self, revive: Callable[[], Awaitable[None]]) -> None:
        """Listen to the shim until the process has ended; *revive* is awaited for another shim when this one dies."""
        while not self.ended:
            try:
                kind, payload = await self._receive_past_notes()
            except frames.Broken:
                await revive()
                continue
            if kind == frames.ENDED:
                self.end(ExitStatus(*frames.unpack_tuple(payload)))

    def end(self, status: ExitStatus) -> None:
        """Take note that the process has ended."""
        if not self._exit.done():
            self._exit.set_result(status)
        self.let_go()

    async def adopt_by(self, channel: Channel) -> None:
        """Let a fresh shim take over.  Raises wire.Broken when it cannot."""
        channel.send_with(frames.ADOPT, frames.pack(self.state), (self._pidfd, *self._keeper))
        kind, payload = await channel.receive()
        if kind == frames.FAILED:
            raise frames.Broken(str(frames.unpack_tuple(payload)[1]))
        self._drop_keeper()
        self._keeper = channel.take_descriptors()
        if self._channel is not None:
            self._channel.close()
        self._channel = channel

    async def cancel(self) -> None:
        """Undo a process that was never released; returns when nothing is left of it."""
        await self._shim().finish()
        self.let_go()

    def let_go(self) -> None:
        """Close what is held here.  A running process goes on; one that was never released is undone by its shim."""
        if self._channel is not None:
            self._channel.close()
        self._drop_keeper()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def _receive_past_notes(self) -> tuple[int, bytes]:
        while True:
            kind, payload = await self._shim().receive()
            if kind != frames.STDIN_END:
                return kind, payload
            self._drop_keeper()

    def _shim(self) -> Channel:
        if self._channel is None:
            raise frames.Broken("the process has no shim")
        return self._channel

    def _take_state(self, payload: bytes) -> None:
        self.state = frames.unpack(payload)  # type: ignore[assignment]
        self.started = self.state["started"]
        frames.close_all(self._shim().take_descriptors())

    def _drop_keeper(self) -> None:
        frames.close_all(self._keeper)
        self._keeper = []


def _open_process(pid: int, start_time: int) -> int:
    """Return a pidfd of exactly that process; -1 when it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    same = False
    try:
        same = shimdir.start_time(pid) == start_time
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        if not same:
            os.close(pidfd)
    return pidfd if same else -1
