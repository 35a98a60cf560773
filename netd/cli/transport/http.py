"""HTTP/1.1 client over unix sockets: one connection per request, streamed bodies, hijacked connections.

Implements only what the Engine API needs.  Uses ``_socket``, because importing ``socket`` takes 5 ms for enumerations.
"""

from __future__ import annotations

import _socket

from netd.cli import signal_waits
from netd.cli.errors import ApiFault, Fault, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@")
_CHUNK = 1 << 18
_NO_BODY = (204, 304)


def quote(text: str) -> str:
    """Percent-encode *text* for a path or a query value; ``/``, ``:`` and ``@`` are kept for image names."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)


def target(path: str, query: Iterable[tuple[str, str]] = ()) -> str:
    """Return the request target; pairs of *query* with an empty value are omitted."""
    pairs = "&".join(f"{key}={quote(value)}" for key, value in query if value)
    return f"{quote(path)}?{pairs}" if pairs else quote(path)


class HttpResponse:
    """The response to one request.  The body can be read once, by one of the methods, which closes the connection."""

    def __init__(self, sock: _socket.socket, *, has_body: bool = True) -> None:
        self._sock = sock
        self._has_body = has_body
        self._buffer = b""
        head, _, self._buffer = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives.  Raises Fault if the connection ends before the body."""
        try:
            if not self._has_body or self.status in _NO_BODY:
                return
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                yield from self._chunked()
            elif (length := self.headers.get("content-length")) is not None:
                yield from self._exactly(int(length))
            else:
                yield from self._rest()
        finally:
            self.close()

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def json(self) -> Any:
        """Return the decoded body, or None if it is empty."""
        from netd.cli.transport.json_decoding import decode

        data = self.read()
        try:
            return decode(data) if data.strip() else None
        except ValueError:
            raise Fault(f"the daemon's response is not JSON: {data[:80]!r}") from None

    def lines(self) -> Iterator[bytes]:
        """Yield the non-empty lines of the body as they arrive."""
        buffer = b""
        for chunk in self.chunks():
            *whole, buffer = (buffer + chunk).split(b"\n")
            yield from (line for line in whole if line.strip())
        if buffer.strip():
            yield buffer

    def take(self) -> tuple[_socket.socket, bytes]:
        """Return the connection, which the caller must close, and the bytes already received on it."""
        return self._sock, self._buffer

    def close(self) -> None:
        self._sock.close()

    def _chunked(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Fault(f"the daemon's response is invalid: {line[:40]!r} is not a chunk size") from None
            if size == 0:
                return
            yield from self._exactly(size)
            self._line()

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            data = self._buffer or self._receive()
            if not data:
                raise Fault("the daemon closed the connection in the middle of its response")
            piece, self._buffer = data[:size], data[size:]
            size -= len(piece)
            yield piece

    def _rest(self) -> Iterator[bytes]:
        while data := self._buffer or self._receive():
            self._buffer = b""
            yield data

    def _line(self) -> bytes:
        line, _, self._buffer = self._until(b"\n").partition(b"\n")
        return line.strip()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            data = self._receive()
            if not data:
                raise Fault("the daemon closed the connection without a response")
            self._buffer += data
        return self._buffer

    def _receive(self) -> bytes:
        try:
            signal_waits.wait(self._sock.fileno())
            return self._sock.recv(_CHUNK)
        except ConnectionError as error:
            raise Fault(f"the connection to the daemon was lost: {error.strerror}") from None


class HttpRequest:
    """A request that was sent; several can be outstanding at the same time."""

    def __init__(
        self, sock: _socket.socket, *, has_body: bool = True, explain: Callable[[str], str] | None = None
    ) -> None:
        self._sock = sock
        self._has_body = has_body
        self._explain = explain

    def response(self) -> HttpResponse:
        """Wait for the head of the response.  Raises ApiFault with the daemon's message for a status from 400 on."""
        response = HttpResponse(self._sock, has_body=self._has_body)
        if response.status >= 400:
            raise ApiFault(_message(response), response.status, self._explain)
        return response


def _check_texts(value: Any) -> None:
    """Raise Fault for a text that is not valid UTF-8: the command line's other bytes are lone surrogates in it."""
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_texts(key)
            _check_texts(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _check_texts(entry)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Fault(
                f"{value[:100]!a} is not valid UTF-8, which the daemon requires: correct the argument"
            ) from None


class Client:
    """Sends requests to the first of *paths* that accepts a connection; *daemon* is the name in error messages."""

    def __init__(self, daemon: str, *paths: str) -> None:
        self._daemon, self._paths = daemon, paths
        self.explain: Callable[[str], str] | None = None
        """Adds what the user may have meant to messages of the status 404."""

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: object = None,
        upgrade: bool = False,
        headers: Iterable[tuple[str, str]] = (),
    ) -> HttpRequest:
        """Send a request, with *body* as JSON.  Raises Unreachable if no daemon listens."""
        lines = [f"{method} {target(path, query)} HTTP/1.1", "Host: netd"]
        lines.append("Connection: Upgrade\r\nUpgrade: tcp" if upgrade else "Connection: close")
        lines += [f"{name}: {value}" for name, value in headers]
        data = b""
        if body is not None:
            from json import dumps

            data = dumps(body).encode()
            if b"\\ud" in data:
                _check_texts(body)
            lines.append("Content-Type: application/json")
        if data or method == "POST":
            lines.append(f"Content-Length: {len(data)}")
        sock = self._connect()
        _send(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + data)
        return HttpRequest(sock, has_body=method != "HEAD", explain=self.explain)

    def upload(
        self,
        path: str,
        query: Iterable[tuple[str, str]],
        content: Iterable[bytes],
        *,
        method: str = "POST",
        headers: Iterable[tuple[str, str]] = (),
    ) -> HttpResponse:
        """Send *content* in chunks.  The daemon may respond with an error before it has read all of it."""
        head = f"{method} {target(path, query)} HTTP/1.1\r\nHost: netd\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        sock = self._connect()
        _send(sock, f"{head}Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n".encode("ascii"))
        for piece in content:
            if piece and not _send(sock, b"%x\r\n%b\r\n" % (len(piece), piece)):
                break
        else:
            _send(sock, b"0\r\n\r\n")
        return HttpRequest(sock, explain=self.explain).response()

    def call(
        self, method: str, path: str, *, query: Iterable[tuple[str, str]] = (), body: object = None
    ) -> HttpResponse:
        return self.send(method, path, query=query, body=body).response()

    def get(self, path: str, query: Iterable[tuple[str, str]] = ()) -> Any:
        return self.call("GET", path, query=query).json()

    def post(self, path: str, body: object = None, *, query: Iterable[tuple[str, str]] = ()) -> Any:
        return self.call("POST", path, query=query, body=body).json()

    def hijack(self, path: str, body: object = None, *, query: Iterable[tuple[str, str]] = ()) -> HttpResponse:
        """Post a request that upgrades the connection to a raw stream, which ``take()`` of the response returns."""
        response = self.send("POST", path, query=query, body=body, upgrade=True).response()
        if response.status != 101:
            raise Fault(f"the daemon answered {response.status} instead of opening a stream for {path}")
        return response

    def _connect(self) -> _socket.socket:
        refused: OSError | None = None
        for path in self._paths:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            try:
                sock.connect(path)
                return sock
            except PermissionError:
                raise Unreachable(
                    f"permission denied at {path}: run netctl as root or as a member of the group netd"
                ) from None
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
                refused = refused or error
        raise Unreachable(self._unreachable_message()) from refused

    def _unreachable_message(self) -> str:
        first = self._paths[0]
        return f"cannot reach {self._daemon} at {first}: start it with '{self._start_command(first)}'"

    def _start_command(self, socket: str) -> str:
        from os.path import exists

        run_dir = socket.rpartition("/")[0]
        units = (f"{folder}/systemd/system/{self._daemon}.service" for folder in ("/etc", "/lib"))
        if run_dir == "/run/netd" and exists("/run/systemd/system") and any(map(exists, units)):
            return f"systemctl start {self._daemon}"
        return f"{self._daemon} --run-dir {run_dir}"


def _send(sock: _socket.socket, data: bytes) -> bool:
    """Send all of *data*; return False if the daemon closed the connection: its response then contains the reason."""
    try:
        signal_waits.send_all(sock, data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _message(response: HttpResponse) -> str:
    """Return the daemon's error message: the JSON field ``message``, or the plain text that attach responds with."""
    data = response.read().decode("utf-8", "replace").strip()
    if data.startswith("{"):
        from json import loads

        try:
            found = loads(data).get("message")
        except ValueError:
            found = None
        if isinstance(found, str) and found:
            return found
    return data or f"the daemon answered {response.status}"
