"""A mock server of the Engine API on a unix socket, with responses recorded from Docker 28.5.

A table maps requests to responses.  The server records its requests.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PATIENCE = 30


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: Connection

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Connection:
    """A client's connection, for responses that write to it directly."""

    sock: socket.socket
    file: object

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def upgrade(self, kind: str = "multiplexed") -> None:
        self.send(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.%b-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n" % kind.encode()
        )

    def frame(self, stream: int, data: bytes) -> None:
        self.send(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data)

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def read_to_end(self) -> bytes:
        return self.file.read()

    def close(self) -> None:
        self.file.close()
        self.sock.shutdown(socket.SHUT_RDWR)


@dataclass
class Peer:
    """Listens at ``path``; ``on`` sets responses: a value, (status, value), or a function of the request."""

    path: Path
    asked: list[Request] = field(default_factory=list)
    answers: list[tuple[str, re.Pattern[str], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(64)
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def on(self, method: str, pattern: str, answer: object | Callable[[Request], object]) -> None:
        self.answers.insert(0, (method, re.compile(pattern + r"\Z"), answer))

    def seen(self, method: str, path: str) -> list[Request]:
        with self.changed:
            return [request for request in self.asked if (request.method, request.path) == (method, path)]

    def wait_for(self, method: str, path: str, count: int = 1) -> Request:
        """Wait for the *count*-th such request and return it."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen(method, path)) >= count, PATIENCE), (
                f"no {method} {path}, only {[(request.method, request.path) for request in self.asked]}"
            )
        return self.seen(method, path)[count - 1]

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            thread.start()
            self.threads.append(thread)

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file:
            try:
                self._answer(_request(Connection(sock, file)))
            except (ConnectionError, OSError):
                return

    def _answer(self, request: Request) -> None:
        with self.changed:
            self.asked.append(request)
            self.changed.notify_all()
        for method, pattern, answer in self.answers:
            if method == request.method and pattern.match(request.path):
                found = answer(request) if callable(answer) else answer
                break
        else:
            found = 404, {"message": "page not found"}
        if found is not request:
            request.connection.send(_response(found))


def _request(connection: Connection) -> Request:
    method, target, _ = connection.file.readline().decode().split(" ")
    headers = {}
    while (line := connection.file.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    parts = urlsplit(target)
    query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    return Request(method, unquote(parts.path), query, headers, _body(connection, headers), connection)


def _body(connection: Connection, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return connection.read(int(headers.get("content-length", "0")))
    body = b""
    while size := int(connection.file.readline(), 16):
        body += connection.read(size)
        connection.file.readline()
    connection.file.readline()
    return body


def _response(found: object) -> bytes:
    status, value = found if isinstance(found, tuple) else (200, found)
    body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head if status not in (204, 304) else f"HTTP/1.1 {status} No Content\r\n\r\n").encode() + body
