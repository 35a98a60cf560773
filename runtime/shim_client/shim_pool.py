"""Starts the zygote and keeps spare shims ready; starts it again when it has died.

Owns the zygote process and the channels of shims that nobody uses yet.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import socket
import struct
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

from netd.common.tasks import Tasks
from runtime import frames
from runtime.shim_client.channel import Channel

_MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from runtime.shim.zygote import main; main()"
_ATTEMPTS = 5
_QUIET = 0.03
"""Seconds."""
_MFD_EXEC = 0x10
_SETFLAGS, _IMMUTABLE = 0x40086602, 0x10
"""Of linux/fs.h: FS_IOC_SETFLAGS and FS_IMMUTABLE_FL."""
_SEALS = (0x3F, 0x0F)
"""With F_SEAL_EXEC, and without for kernels before 6.3."""


def sealed_interpreter() -> int:
    """Return a copy of this interpreter in memory that nobody can ever write to."""
    try:
        copy = os.memfd_create("netd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError:
        copy = os.memfd_create("netd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open("/proc/self/exe", "rb") as source:
        while os.sendfile(copy, source.fileno(), None, 1 << 24):
            pass
    os.fchmod(copy, 0o511)
    for seals in _SEALS:
        with suppress(OSError):
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
            break
    # Seals leave owner, mode and attributes open to a container that reaches the file; kernels before 6.1 have no more.
    with suppress(OSError):
        fcntl.ioctl(copy, _SETFLAGS, struct.pack("l", _IMMUTABLE))
    return copy


class ShimPool:
    """Hands out channels to fresh shims: spares, which hold a first process ready, and others on demand."""

    def __init__(self, spares: int, tasks: Tasks, nofile: tuple[int, int] | None, *, mapped: bool = False) -> None:
        self._kind = frames.SPARE_MAPPED if mapped else frames.SPARE
        self._tasks = tasks
        self._nofile = nofile
        self._shims = -1
        self._wanted = spares
        self._interpreter = -1
        self._pid = 0
        self._zygote: Channel | None = None
        self._spares: deque[Channel] = deque()
        self._lock = asyncio.Lock()
        self._refilling: asyncio.Task[None] | None = None

    async def start(self, shims: int) -> None:
        """Start the zygote; *shims* is the folder that shims work in."""
        self._shims = shims
        self._interpreter = await asyncio.to_thread(sealed_interpreter)
        self._spawn()
        self.refill()

    async def spare(self) -> Channel:
        """Return the channel of a spare that is ready.  Raises OSError when none can be made."""
        reason = "they were killed"
        for _ in range(_ATTEMPTS):
            channel = self._spares.popleft() if self._spares else await self._request(self._kind)
            try:
                kind, payload = await channel.receive()
            except frames.Broken:
                channel.close()
                continue
            except OSError:
                channel.close()
                raise
            if kind == frames.READY:
                return channel
            channel.close()
            reason = str(frames.unpack_tuple(payload)[1])
        raise OSError(f"no process can be prepared for containers: {reason}")

    async def fresh(self, kind: int) -> Channel:
        """Return the channel of a new shim of that kind."""
        return await self._request(kind)

    def refill(self) -> None:
        """See to it, in the background, that the wanted number of spares is there."""
        if self._refilling is None or self._refilling.done():
            self._refilling = self._tasks.start(self._refill(), "refill")

    async def settle(self) -> None:
        """Return when no spare is being made."""
        if self._refilling is not None:
            await self._refilling

    async def close(self) -> None:
        """Stop the zygote and the spares; returns when the spares have removed what they had made."""
        await self.settle()
        async with self._lock:
            for spare in self._spares:
                await spare.finish()
            self._spares.clear()
            await self._bury()
            if self._interpreter >= 0:
                os.close(self._interpreter)
                self._interpreter = -1

    async def _refill(self) -> None:
        # A process that was just started has the processors to itself for as long as there is a spare for the next.
        await asyncio.sleep(_QUIET if self._spares else 0)
        while len(self._spares) < self._wanted:
            self._spares.append(await self._request(self._kind))

    async def _request(self, kind: int) -> Channel:
        async with self._lock:
            try:
                return await self._ask(kind)
            except frames.Broken:
                await self._bury()
                self._spawn()
                return await self._ask(kind)

    async def _ask(self, kind: int) -> Channel:
        assert self._zygote is not None
        await self._zygote.send(kind)
        await self._zygote.receive()
        descriptors = self._zygote.take_descriptors()
        if len(descriptors) != 1:
            # The kernel drops what this process has no number for.
            frames.close_all(descriptors)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return Channel(socket.socket(fileno=descriptors[0]))

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        # Above the numbers they will get, so that neither overwrites the other.
        channel, shims = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs.fileno(), self._shims))
        root = str(Path(__file__).resolve().parents[2])
        try:
            self._pid = os.posix_spawn(
                f"/proc/self/fd/{self._interpreter}",
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _MAIN, root],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, channel, 3),
                    (os.POSIX_SPAWN_DUP2, shims, 4),
                ],
                setsid=True,
                setsigmask=(),
            )
            if self._nofile is not None:
                # Nothing is forked before the first request, so containers begin with this limit and not the daemon's.
                resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._nofile)
        finally:
            theirs.close()
            frames.close_all([channel, shims])
        self._zygote = Channel(ours)

    async def _bury(self) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        if self._pid:
            with suppress(ChildProcessError):
                await asyncio.to_thread(os.waitpid, self._pid, 0)
            self._pid = 0
