"""Accepts connections on a daemon's socket, also when the daemon has no file descriptor left to accept them with.

One descriptor is kept in reserve.  With it such a connection is accepted, answered with 503, and closed.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from netd.common import resource_errors
from netd.common.tasks import Tasks

_AT_ONCE = 64
_PAUSE = 0.2
"""Seconds until it is tried again when there is not even the descriptor in reserve."""
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class Acceptor:
    def __init__(self, listener: socket.socket, make: Callable[[], asyncio.Protocol], tasks: Tasks) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._make = make
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Stop listening; what was accepted goes on."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                self._tasks.failures.report("accept", error)
                if error.errno not in _NO_DESCRIPTOR or not self._refuse(error):
                    self._pause()
                    return
                continue
            accepted.setblocking(False)
            self._tasks.start(self._connect(accepted), "accept")

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except BaseException:
            accepted.close()
            raise

    def _refuse(self, error: OSError) -> bool:
        """Answer the next connection by means of the spare descriptor; false when that is gone."""
        if self._spare < 0:
            return False
        os.close(self._spare)
        self._spare = -1
        with suppress(OSError):
            refused, _ = self._listener.accept()
            with refused:
                _answer(refused, error)
        with suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return True

    def _pause(self) -> None:
        """Look away for a moment: a connection that waits would call at once again."""
        self._loop.remove_reader(self._listener)
        self._again = self._loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._spare < 0:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._loop.add_reader(self._listener, self._accept)


def _answer(refused: socket.socket, error: OSError) -> None:
    problem = resource_errors.problem(error, "connection refused")
    body = json.dumps({"message": problem.message if problem else str(error)}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    refused.setblocking(False)
    refused.send(head.encode() + body)
    refused.shutdown(socket.SHUT_WR)
    # A request that is left unread would make the kernel reset the connection before its answer is read.
    refused.recv(65536)
