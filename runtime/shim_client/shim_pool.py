"""Starts the zygote, restarts it when it has died, and keeps idle shims ready.

Owns the zygote process and the channels of idle shims.  The setup process of an idle shim has forked a first
process, which waits for a container's spec.
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

_ZYGOTE_SCRIPT = "import sys; sys.path.insert(0, sys.argv[1]); from runtime.shim.zygote import main; main()"
_ATTEMPTS = 5
_REFILL_DELAY = 0.03
"""Seconds before further shims are forked while one is idle."""
_MFD_EXEC = 0x10
_SETFLAGS, _IMMUTABLE = 0x40086602, 0x10
"""FS_IOC_SETFLAGS and FS_IMMUTABLE_FL of linux/fs.h."""
_SEALS = (0x3F, 0x0F)
"""With F_SEAL_EXEC, and without it for kernels before 6.3."""


def sealed_interpreter() -> int:
    """Return a memfd with a copy of this interpreter, sealed against writing."""
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
    # Seals do not protect owner, mode and attributes from a container that reaches the file; the immutable flag does,
    # from Linux 6.1 on.
    with suppress(OSError):
        fcntl.ioctl(copy, _SETFLAGS, struct.pack("l", _IMMUTABLE))
    return copy


class ShimPool:
    """Channels to new shims: idle ones for containers, and others on request."""

    def __init__(self, idle_shims: int, tasks: Tasks, nofile: tuple[int, int] | None, *, mapped: bool = False) -> None:
        self._kind = frames.SETUP_USERNS_CONTAINER if mapped else frames.SETUP_CONTAINER
        self._tasks = tasks
        self._nofile = nofile
        self._shims = -1
        self._wanted = idle_shims
        self._interpreter = -1
        self._pid = 0
        self._zygote: Channel | None = None
        self._idle: deque[Channel] = deque()
        self._lock = asyncio.Lock()
        self._refilling: asyncio.Task[None] | None = None

    async def start(self, shims: int) -> None:
        """Start the zygote; *shims* is a descriptor of the shims' folder."""
        self._shims = shims
        self._interpreter = await asyncio.to_thread(sealed_interpreter)
        self._spawn_zygote()
        self.refill()

    async def take_idle(self) -> Channel:
        """Return the channel of an idle shim that is ready.  Raises OSError if none can be forked."""
        reason = "they were killed"
        for _ in range(_ATTEMPTS):
            channel = self._idle.popleft() if self._idle else await self._request_or_restart(self._kind)
            try:
                kind, payload = await channel.receive()
            except frames.ChannelError:
                channel.close()
                continue
            except OSError:
                channel.close()
                raise
            if kind == frames.READY:
                return channel
            channel.close()
            reason = frames.unpack_failure(payload)[1]
        raise OSError(f"no process can be prepared for containers: {reason}")

    async def request(self, kind: int) -> Channel:
        """Return the channel of a new shim; *kind* is a SETUP frame."""
        return await self._request_or_restart(kind)

    def refill(self) -> None:
        """Fork idle shims in the background until their number is as configured."""
        if self._refilling is None or self._refilling.done():
            self._refilling = self._tasks.start(self._refill(), "refill")

    async def wait_filled(self) -> None:
        """Return when no idle shim is being forked."""
        if self._refilling is not None:
            await self._refilling

    async def close(self) -> None:
        """Stop the zygote and the idle shims; returns when these have removed their groups."""
        await self.wait_filled()
        async with self._lock:
            for channel in self._idle:
                await channel.finish()
            self._idle.clear()
            await self._stop_zygote()
            if self._interpreter >= 0:
                os.close(self._interpreter)
                self._interpreter = -1

    async def _refill(self) -> None:
        # While a shim is idle, wait: the fork would compete for processor time with the container just started.
        await asyncio.sleep(_REFILL_DELAY if self._idle else 0)
        while len(self._idle) < self._wanted:
            self._idle.append(await self._request_or_restart(self._kind))

    async def _request_or_restart(self, kind: int) -> Channel:
        async with self._lock:
            try:
                return await self._request_once(kind)
            except frames.ChannelError:
                await self._stop_zygote()
                self._spawn_zygote()
                return await self._request_once(kind)

    async def _request_once(self, kind: int) -> Channel:
        assert self._zygote is not None
        await self._zygote.send(kind)
        await self._zygote.receive()
        descriptors = self._zygote.take_descriptors()
        if len(descriptors) != 1:
            # The kernel drops received descriptors above RLIMIT_NOFILE.
            frames.close_all(descriptors)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return Channel(socket.socket(fileno=descriptors[0]))

    def _spawn_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        # Duplicated to numbers above 4, so that the duplication to 3 and 4 in the child overwrites neither.
        channel, shims = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs.fileno(), self._shims))
        root = str(Path(__file__).resolve().parents[2])
        try:
            self._pid = os.posix_spawn(
                f"/proc/self/fd/{self._interpreter}",
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _ZYGOTE_SCRIPT, root],
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
                # Set before the first request, so containers start with this limit and not with the daemon's.
                resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._nofile)
        finally:
            theirs.close()
            frames.close_all([channel, shims])
        self._zygote = Channel(ours)

    async def _stop_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        if self._pid:
            with suppress(ChildProcessError):
                await asyncio.to_thread(os.waitpid, self._pid, 0)
            self._pid = 0
