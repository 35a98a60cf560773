"""Which process is the server: finds the one that is there, starts one, ends one."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from netd.common.errors import Unavailable
from netd.dns import protocol
from netd.dns.client.handshake import Handshake, drain, greet, stop
from netd.dns.client.launch import Process, dial, process_behind, spawn
from netd.dns.protocol import Pipe

log = logging.getLogger(__name__)

HELLO_LIMIT = 3.0
"""Seconds that a server has for its first words."""
LOADING_LIMIT = 10.0
"""The same for a new one, which has its modules to load."""
STOP_LIMIT = 3.0


class Servers:
    """The server that listens at *path*, whichever process it is at the time."""

    def __init__(self, path: Path, log_path: Path, resolv_conf: Path) -> None:
        self.version = protocol.version()
        self._path = path
        self._log_path = log_path
        self._resolv_conf = resolv_conf
        self._process: Process | None = None

    async def meet(self) -> tuple[Pipe, Handshake]:
        """Return a connection to the server that is there, or to a new one, with its first words.

        One that does not answer is ended.  Raises Unavailable when a new one does not answer either.
        """
        sock = dial(self._path)
        if sock is not None:
            if self._process is None:
                self._process = process_behind(sock, self._path)
            try:
                return await self._greet(sock, HELLO_LIMIT)
            except (EOFError, ValueError) as problem:
                log.info("event=dns-was-ending reason=%s", problem)
            except TimeoutError:
                log.warning("event=dns-hung limit=%s", HELLO_LIMIT)
        return await self._begin()

    async def kill(self) -> None:
        """End a server that does not answer."""
        process, self._process = self._process, None
        if process is not None:
            await process.kill()

    async def replace(self, pipe: Pipe) -> tuple[Pipe, Handshake]:
        """End the server at the other end of *pipe* and return a connection to a new one."""
        log.info("event=dns-replaced version=%s", self.version)
        await self._end(pipe)
        return await self._begin()

    async def stop(self, pipe: Pipe | None) -> None:
        """End the server, with or without a connection to it, and remove its socket."""
        if pipe is not None:
            await self._end(pipe)
        await self.kill()
        self._path.unlink(missing_ok=True)

    async def part(self, pipe: Pipe) -> None:
        """Say what is left to say, and leave the server to itself."""
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await drain(pipe)
        except (TimeoutError, OSError) as problem:
            log.warning("event=dns-parted-badly reason=%r", problem)
        pipe.close()
        if self._process is not None:
            self._process.release()

    def silent(self) -> Unavailable:
        return Unavailable(
            f"the name server at {self._path} does not answer yet; names follow when it does, see {self._log_path}"
        )

    async def _end(self, pipe: Pipe) -> None:
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await stop(pipe)
        except (TimeoutError, OSError) as problem:
            log.warning("event=dns-parted-badly reason=%r", problem)
        finally:
            pipe.close()

    async def _begin(self) -> tuple[Pipe, Handshake]:
        """Start a server; one that can no longer be reached is ended first."""
        await self.kill()
        self._process = spawn(self._path, self._log_path, self._resolv_conf)
        sock = dial(self._path)
        if sock is None:
            raise Unavailable(f"the new name server's {self._path} is gone; is another netd using that directory?")
        try:
            return await self._greet(sock, LOADING_LIMIT)
        except TimeoutError as problem:
            raise self.silent() from problem
        except (EOFError, ValueError) as problem:
            raise Unavailable(f"the name server ended as soon as it was started; see {self._log_path}") from problem

    async def _greet(self, sock: socket.socket, limit: float) -> tuple[Pipe, Handshake]:
        pipe = Pipe(sock)
        try:
            async with asyncio.timeout(limit):
                return pipe, await greet(pipe, self.version)
        except BaseException:
            pipe.close()
            raise
