"""A plain HTTP client for the socket of an engine, for calls that an SDK would refuse to send."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

_TIMEOUT = 120.0
_HEADER = 8


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    kind: str
    """The media type."""
    data: bytes

    @property
    def body(self) -> Any:
        """Return the decoded body: JSON, a list of JSON lines, the frames of a stream, or text."""
        if self.kind == "application/vnd.docker.multiplexed-stream":
            return {"frames": _frames(self.data)}
        if self.kind == "application/vnd.docker.raw-stream":
            return {"raw": self.data.decode(errors="replace")}
        if not self.kind.startswith("application/"):
            return self.data.decode(errors="replace")
        try:
            return json.loads(self.data)
        except ValueError:
            return [json.loads(line) for line in self.data.splitlines() if line.strip()]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)


class Engine:
    """An engine that listens on the unix socket *path*."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._kept: _Connection | None = None

    def request(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request; a *body* of bytes is sent as it is, any other as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        connection = self._kept or _Connection(self.path)
        self._kept = None
        connection.request(method, target, body=data, headers={**sent, **(headers or {})})
        response = connection.getresponse()
        kind = (response.getheader("Content-Type") or "text/plain").partition(";")[0]
        answer = Answer(response.status, kind, response.read())
        if response.will_close:
            connection.close()
        else:
            self._kept = connection
        return answer

    def request_open(self, method: str, target: str) -> http.client.HTTPResponse:
        """Send one request without a body on a connection of its own, and return once the headers have arrived."""
        connection = _Connection(self.path)
        connection.request(method, target)
        return connection.getresponse()

    def close(self) -> None:
        if self._kept:
            self._kept.close()


def _frames(data: bytes) -> dict[str, str]:
    """Return the text of each stream of a multiplexed stream; the order between streams is not determined."""
    found: dict[str, str] = {}
    while len(data) >= _HEADER:
        length = int.from_bytes(data[4:_HEADER], "big")
        stream = str(data[0])
        found[stream] = found.get(stream, "") + data[_HEADER : _HEADER + length].decode(errors="replace")
        data = data[_HEADER + length :]
    return found
