"""Accepts connections on a daemon's socket, also when no file descriptor is left.

One descriptor is reserved.  When ``accept`` fails for lack of descriptors, the reserved one is closed, so that the
connection can be accepted, answered with 503 and closed; then a descriptor is reserved again.
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

_BATCH = 64
_PAUSE = 0.2
"""Seconds before the next attempt when the reserved descriptor is missing too."""
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
        """Stop listening; accepted connections stay open."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accept(self) -> None:
        for _ in range(_BATCH):
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
        """Answer the next connection with 503, using the reserved descriptor; return False if that is missing."""
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
        """Stop polling the listener for a moment: a pending connection would make it readable again at once."""
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
    # Closing a socket with unread data resets the connection, and the client would lose the answer.
    refused.recv(65536)
