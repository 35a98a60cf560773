"""Single requests to a daemon's socket, each over a connection of its own, so that daemons may be restarted between."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from pathlib import Path
from typing import Any


class RawClient:
    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def call(
        self, method: str, path: str, body: Any = None, barrier: threading.Barrier | None = None
    ) -> tuple[int, Any]:
        """Return (status, decoded body) of a request, which is sent when *barrier* lets it; streams are not read."""
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(self._path)
        if barrier is not None:
            barrier.wait()
        headers = {"Content-Type": "application/json"}
        connection.request(method, "/v1.47" + path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        streams = "chunked" in response.headers.get("Transfer-Encoding", "")
        streams = streams or "stream" in response.headers.get("Content-Type", "")
        text = b"" if streams else response.read()
        response.close()
        connection.close()
        return response.status, json.loads(text) if text else None
