"""Which process is the server: finds the one that is there, starts one, ends one."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from netd.common.errors import Unavailable
from netd.dns import protocol
from netd.dns.greeting import Greeting, drain, greet, stop
from netd.dns.launch import Child, dial, spawn
from netd.dns.protocol import Pipe

log = logging.getLogger(__name__)

HELLO_LIMIT = 10.0
"""Seconds that a server has for its first words; a new one has its modules to load."""
STOP_LIMIT = 3.0


class Servers:
    """The server that listens at *path*, whichever process it is at the time."""

    def __init__(self, path: Path, log_path: Path, resolv_conf: Path) -> None:
        self.version = protocol.version()
        self._path = path
        self._log_path = log_path
        self._resolv_conf = resolv_conf
        self._child: Child | None = None

    async def meet(self) -> tuple[Pipe, Greeting]:
        """Return a connection to the server that is there, or to a new one, with its first words.

        Raises Unavailable when there is one that does not answer.
        """
        sock = dial(self._path)
        if sock is not None:
            try:
                return await self._greet(sock)
            except (EOFError, ValueError) as problem:
                log.info("event=dns-was-ending reason=%s", problem)
        return await self._begin()

    async def replace(self, pipe: Pipe) -> tuple[Pipe, Greeting]:
        """End the server at the other end of *pipe* and return a connection to a new one."""
        log.info("event=dns-replaced version=%s", self.version)
        await self._end(pipe)
        return await self._begin()

    async def stop(self, pipe: Pipe | None) -> None:
        """End the server, with or without a connection to it, and remove its socket."""
        if pipe is not None:
            await self._end(pipe)
        if self._child is not None:
            await self._child.kill()
        self._path.unlink(missing_ok=True)

    async def part(self, pipe: Pipe) -> None:
        """Say what is left to say, and leave the server to itself."""
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await drain(pipe)
        except (TimeoutError, OSError) as problem:
            log.warning("event=dns-parted-badly reason=%r", problem)
        pipe.close()
        if self._child is not None:
            self._child.release()

    def silent(self) -> Unavailable:
        return Unavailable(
            f"the name server at {self._path} does not answer; see {self._log_path}, end it and try again"
        )

    async def _end(self, pipe: Pipe) -> None:
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await stop(pipe)
        except (TimeoutError, OSError) as problem:
            log.warning("event=dns-parted-badly reason=%r", problem)
        finally:
            pipe.close()

    async def _begin(self) -> tuple[Pipe, Greeting]:
        """Start a server; one of ours that can no longer be reached is ended first."""
        if self._child is not None:
            await self._child.kill()
        self._child = spawn(self._path, self._log_path, self._resolv_conf)
        sock = dial(self._path)
        if sock is None:
            raise Unavailable(f"the new name server's {self._path} is gone; is another netd using that directory?")
        try:
            return await self._greet(sock)
        except (EOFError, ValueError) as problem:
            raise Unavailable(f"the name server ended as soon as it was started; see {self._log_path}") from problem

    async def _greet(self, sock: socket.socket) -> tuple[Pipe, Greeting]:
        pipe = Pipe(sock)
        try:
            async with asyncio.timeout(HELLO_LIMIT):
                return pipe, await greet(pipe, self.version)
        except BaseException as problem:
            pipe.close()
            if isinstance(problem, TimeoutError):
                raise self.silent() from problem
            raise
