"""The lifecycle of the netd-dns process: find a running server, start one, stop one."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from netd.common.errors import Unavailable
from netd.dns import protocol
from netd.dns.client.handshake import Handshake, drain, shake_hands, stop
from netd.dns.client.launch import Process, connect, peer_process, spawn
from netd.dns.protocol import MessageSocket

log = logging.getLogger(__name__)

HELLO_LIMIT = 3.0
"""Seconds for the handshake of a running server."""
LOADING_LIMIT = 10.0
"""The same for a new server, which loads its modules first."""
STOP_LIMIT = 3.0
"""Seconds for a server to stop, or to read the last messages."""


class Servers:
    """The server that listens at *path*: at most one process at a time."""

    def __init__(self, path: Path, log_path: Path, resolv_conf: Path) -> None:
        self.version = protocol.version()
        self._path = path
        self._log_path = log_path
        self._resolv_conf = resolv_conf
        self._process: Process | None = None

    async def connect(self) -> tuple[MessageSocket, Handshake]:
        """Return a connection to the running server or to a new one, and its handshake.

        A running server that does not respond is killed.  Raises Unavailable if the new one does not respond either.
        """
        sock = connect(self._path)
        if sock is not None:
            if self._process is None:
                self._process = peer_process(sock, self._path)
            try:
                return await self._shake_hands(sock, HELLO_LIMIT)
            except (EOFError, ValueError) as problem:
                log.info("netd-dns was exiting: error=%s", problem)
            except TimeoutError:
                log.warning("netd-dns does not respond: limit=%s", HELLO_LIMIT)
        return await self._start()

    async def kill(self) -> None:
        """Kill the server process, if it is known."""
        process, self._process = self._process, None
        if process is not None:
            await process.kill()

    async def replace(self, connection: MessageSocket) -> tuple[MessageSocket, Handshake]:
        """Stop the server behind *connection* and return a connection to a new one."""
        log.info("netd-dns of another version is replaced: version=%s", self.version)
        await self._stop(connection)
        return await self._start()

    async def stop(self, connection: MessageSocket | None) -> None:
        """Stop the server, with or without a connection to it, and remove its socket."""
        if connection is not None:
            await self._stop(connection)
        await self.kill()
        self._path.unlink(missing_ok=True)

    async def detach(self, connection: MessageSocket) -> None:
        """Send the queued messages and disconnect; the server keeps running."""
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await drain(connection)
        except (TimeoutError, OSError) as problem:
            log.warning("netd-dns did not read the last messages: error=%r", problem)
        connection.close()
        if self._process is not None:
            self._process.release()

    def unresponsive(self) -> Unavailable:
        """Return the error for a server that does not respond."""
        return Unavailable(
            f"the name server at {self._path} does not answer yet; names follow when it does, see {self._log_path}"
        )

    async def _stop(self, connection: MessageSocket) -> None:
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await stop(connection)
        except (TimeoutError, OSError) as problem:
            log.warning("netd-dns did not read the last messages: error=%r", problem)
        finally:
            connection.close()

    async def _start(self) -> tuple[MessageSocket, Handshake]:
        """Start a server, after killing one that is running without a connection."""
        await self.kill()
        self._process = spawn(self._path, self._log_path, self._resolv_conf)
        sock = connect(self._path)
        if sock is None:
            raise Unavailable(
                f"the socket {self._path} of the new name server is gone: check for another netd that uses the folder"
            )
        try:
            return await self._shake_hands(sock, LOADING_LIMIT)
        except TimeoutError as problem:
            raise self.unresponsive() from problem
        except (EOFError, ValueError) as problem:
            raise Unavailable(f"the name server exited right after its start; see {self._log_path}") from problem

    async def _shake_hands(self, sock: socket.socket, limit: float) -> tuple[MessageSocket, Handshake]:
        connection = MessageSocket(sock)
        try:
            async with asyncio.timeout(limit):
                return connection, await shake_hands(connection, self.version)
        except BaseException:
            connection.close()
            raise
