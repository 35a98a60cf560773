"""A mock container for the peer: create, attach, start and wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine_peer import PATIENCE, Connection, Peer, Request
from recorded import ID, inspected

PATH = f"/containers/{ID}"


class Container:
    """``program`` is what runs: it reads input from the attached connection, writes output there, returns a code."""

    def __init__(
        self, peer: Peer, program: Callable[[Connection], int], *, tty: bool = False, stdin: bool = False
    ) -> None:
        self.peer, self.program, self.tty = peer, program, tty
        self.started = threading.Event()
        self.ended = threading.Event()
        self.waiting = threading.Event()
        self.code = -1
        self.start_answer: object = (204, None)
        peer.on("POST", "/containers/create", (201, {"Id": ID, "Warnings": []}))
        peer.on("GET", "/containers/web/json", inspected(tty=tty, stdin=stdin))
        peer.on("POST", f"{PATH}/attach", self._attach)
        peer.on("POST", f"{PATH}/wait", self._wait)
        peer.on("POST", f"{PATH}/start", self._start)
        peer.on("POST", f"{PATH}/(resize|kill)", (200, None))

    def _attach(self, request: Request) -> Request:
        request.connection.upgrade("raw" if self.tty else "multiplexed")
        if request.path.endswith("attach"):
            assert self.started.wait(PATIENCE)
        self.code = self.program(request.connection)
        self.ended.set()
        request.connection.close()
        return request

    def _wait(self, request: Request) -> Request:
        """The head goes out at once and the body at the end, as netctl starts the container in between."""
        self.waiting.set()
        request.connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert self.ended.wait(PATIENCE)
        request.connection.chunk(b'{"StatusCode":%d}\n' % self.code)
        request.connection.chunk(b"")
        return request

    def _start(self, request: Request) -> object:
        assert self.waiting.is_set(), "start came before the answer to wait had begun"
        if self.start_answer == (204, None):
            self.started.set()
        return self.start_answer
