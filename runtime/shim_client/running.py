"""The daemon's view of a process that a shim serves."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from runtime import frames
from runtime.shim import clients, shimdir
from runtime.shim_client.channel import NOT_LISTENING, Channel, connect
from runtime.spec import ExitStatus, StartError, StreamLost

if TYPE_CHECKING:
    from runtime.frames import ShimState

_CHUNK = 32768
_CUT_OFF = "the output was cut off because it was not read for too long, or because its shim was killed; attach again"


class ShimAttachment:
    """One client's attachment to the streams, over a connection of its own to the shim."""

    def __init__(self, channel: Channel, *, sends_end: bool) -> None:
        """*sends_end* is false until STATE is received, and for shims of an earlier version, without OUTPUT_END."""
        self._channel = channel
        self._sends_end = sends_end

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            try:
                kind, payload = await self._channel.receive()
            except frames.ChannelError:
                if self._sends_end:
                    raise StreamLost(_CUT_OFF) from None
                return
            if kind == frames.OUTPUT:
                yield payload[0], payload[1:]
            elif kind == frames.OUTPUT_END:
                return
            elif kind == frames.STATE:
                self._sends_end = bool(payload)

    async def write(self, data: bytes) -> None:
        """Send to standard input; data is lost if the process has closed it."""
        with suppress(frames.ChannelError):
            for start in range(0, len(data), _CHUNK):
                await self._channel.send(frames.STDIN, data[start : start + _CHUNK])

    async def close_stdin(self) -> None:
        with suppress(frames.ChannelError):
            await self._channel.send(frames.STDIN_END)

    async def close(self) -> None:
        self._channel.close()


class ShimProcess:
    """See :class:`runtime.shim_client.supervisor.Running`.

    Holds a pidfd, so that signals reach this process or none, and the writing end of its input, so that the input stays
    open when the shim is killed.
    """

    def __init__(self, shims: int, channel: Channel | None, state: ShimState) -> None:
        """Without a *channel* the process has no shim, and needs :meth:`reattach`."""
        self.state = state
        self.id = state["id"]
        self.pid = state["pid"]
        self.started = state["started"]
        self._shims = shims
        self._channel = channel
        self._pidfd = _open_process(self.pid, state["start_time"])
        self._input = channel.take_descriptors() if channel else []
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._process_end: asyncio.Future[None] | None = None
        """Done when the process has ended; exists when it was asked for, and the event loop watches the pidfd."""

    @property
    def group(self) -> str:
        return self.state["group"]

    @property
    def lost(self) -> bool:
        """Return whether the process no longer existed when this object was created."""
        return self._pidfd < 0

    @property
    def ended(self) -> bool:
        return self._exit.done()

    async def wait(self) -> ExitStatus:
        return await asyncio.shield(self._exit)

    async def wait_process(self) -> None:
        await asyncio.shield(self._watch_process())

    def call_at_end(self, callback: Callable[[], object]) -> None:
        self._watch_process().add_done_callback(lambda _: callback())

    async def attach(self, *, stdin: bool, stdout: bool = True, stderr: bool = True) -> ShimAttachment:
        """Raises ProcessLookupError when the process has ended."""
        try:
            channel = await connect(self._shims, self.id + shimdir.SOCKET_SUFFIX)
        except NOT_LISTENING:
            raise ProcessLookupError(f"process {self.pid} has ended") from None
        flags = (clients.IN if stdin else 0) | (clients.OUT if stdout else 0)
        flags |= clients.ERR if stderr and not self.state["tty"] else 0
        flags |= clients.NO_TIMEOUT if not self.started or not self.state["log"][0] else 0
        sends_end = False
        try:
            await channel.send(frames.ATTACH, bytes((flags,)))
            if self.started:
                # Before the start no answer is awaited: the shim handles all ATTACH frames before it reads any output.
                _kind, payload = await channel.receive()
                sends_end = bool(payload)
        except frames.ChannelError:
            channel.close()
            raise ProcessLookupError(f"process {self.pid} has ended") from None
        return ShimAttachment(channel, sends_end=sends_end)

    async def signal(self, number: int) -> None:
        if self.ended or self._pidfd < 0:
            raise ProcessLookupError(f"process {self.pid} has ended")
        signal.pidfd_send_signal(self._pidfd, number)

    async def resize(self, rows: int, columns: int) -> None:
        with suppress(frames.ChannelError):
            size = struct.pack("<HH", rows & 0xFFFF, columns & 0xFFFF)
            await self._shim().send(frames.RESIZE, size)

    async def release(self) -> None:
        """Let the program run.  Raises StartError after the process has been undone."""
        try:
            await self._shim().send(frames.START)
            kind, payload = await self._receive_result()
        except frames.ChannelError:
            raise StartError("the shim was killed before the process was started") from None
        if kind == frames.FAILED:
            code, message = frames.unpack_failure(payload)
            raise StartError(message, code)
        self._take_state(payload)

    async def follow(self, reattach: Callable[[], Awaitable[None]]) -> None:
        """Receive from the shim until the process has ended; *reattach* is awaited when the shim has been killed."""
        while not self.ended:
            try:
                kind, payload = await self._receive_result()
            except frames.ChannelError:
                await reattach()
                continue
            if kind == frames.ENDED:
                self.end(ExitStatus(*frames.unpack_exit(payload)))

    def end(self, status: ExitStatus) -> None:
        """Record that the process has ended, and close all descriptors."""
        if not self._exit.done():
            self._exit.set_result(status)
        self.close()

    async def reattach(self, channel: Channel) -> None:
        """Hand the process to the new shim at *channel*.  Raises frames.ChannelError if that shim fails."""
        channel.send_with(frames.ADOPT, frames.pack_state(self.state), (self._pidfd, *self._input))
        kind, payload = await channel.receive()
        if kind == frames.FAILED:
            raise frames.ChannelError(frames.unpack_failure(payload)[1])
        self._close_input()
        self._input = channel.take_descriptors()
        if self._channel is not None:
            self._channel.close()
        self._channel = channel

    async def cancel(self) -> None:
        """Undo a process that was not released; returns when its setup process has removed everything."""
        await self._shim().finish()
        self._record_process_end()
        self.close()

    def close(self) -> None:
        """Close all descriptors.  A running process continues; its setup process undoes one that was not released."""
        if self._channel is not None:
            self._channel.close()
        self._close_input()
        if self.ended:
            self._record_process_end()
        elif self._process_end is not None and not self._process_end.done():
            # The process runs on when this daemon stops: no callback may take that for its end.
            self._loop.remove_reader(self._pidfd)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _watch_process(self) -> asyncio.Future[None]:
        """Return the future that is done when the process has ended."""
        if self._process_end is None:
            self._process_end = self._loop.create_future()
            if self._pidfd < 0:
                self._process_end.set_result(None)
            else:
                self._loop.add_reader(self._pidfd, self._record_process_end)
        return self._process_end

    def _record_process_end(self) -> None:
        if self._process_end is not None and not self._process_end.done():
            self._loop.remove_reader(self._pidfd)
            self._process_end.set_result(None)

    async def _receive_result(self) -> tuple[int, bytes]:
        """Return the next frame other than STDIN_END, at which the writing end of the input is closed."""
        while True:
            kind, payload = await self._shim().receive()
            if kind != frames.STDIN_END:
                return kind, payload
            self._close_input()

    def _shim(self) -> Channel:
        if self._channel is None:
            raise frames.ChannelError("the process has no shim")
        return self._channel

    def _take_state(self, payload: bytes) -> None:
        self.state = frames.unpack_state(payload)
        self.started = self.state["started"]
        frames.close_all(self._shim().take_descriptors())

    def _close_input(self) -> None:
        frames.close_all(self._input)
        self._input = []


def _open_process(pid: int, start_time: int) -> int:
    """Return a pidfd of the process with that start time; -1 if it has ended."""
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
