"""HTTP/1.1 over a unix socket: one connection a request, answers read as they come, connections taken over.

Only what an Engine API needs.  ``_socket`` is what ``socket`` wraps: the wrapper costs 5 ms of enumerations at import.
"""

from __future__ import annotations

import _socket

from netd.cli.errors import ApiFault, Fault, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@")
_CHUNK = 1 << 16
_NO_BODY = (204, 304)


def quote(text: str) -> str:
    """Escape *text* for a path or a query value; ``/``, ``:`` and ``@`` stay, as image names have them in paths."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)


def target(path: str, query: Iterable[tuple[str, str]] = ()) -> str:
    """Return the request target; the pairs of *query* whose value is empty are left out."""
    pairs = "&".join(f"{key}={quote(value)}" for key, value in query if value)
    return f"{quote(path)}?{pairs}" if pairs else quote(path)


class HttpResponse:
    """The answer to one request.  Read its body once, by one of the methods; that closes the connection."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._held = b""
        head, _, self._held = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives.  Raises Fault when the connection ends before the body does."""
        try:
            if self.status in _NO_BODY:
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
        """Return the decoded body, None for an empty one."""
        from json import loads

        data = self.read()
        try:
            return loads(data) if data.strip() else None
        except ValueError:
            raise Fault(f"the daemon's answer is no JSON: {data[:80]!r}") from None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body that are not empty, each as soon as it is there."""
        held = b""
        for chunk in self.chunks():
            *whole, held = (held + chunk).split(b"\n")
            yield from (line for line in whole if line.strip())
        if held.strip():
            yield held

    def take(self) -> tuple[_socket.socket, bytes]:
        """Return the connection, which is the caller's from here on, and what has already arrived on it."""
        return self._sock, self._held

    def close(self) -> None:
        self._sock.close()

    def _chunked(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Fault(f"the daemon's answer is garbled: {line[:40]!r} is no chunk size") from None
            if size == 0:
                return
            yield from self._exactly(size)
            self._line()

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            data = self._held or self._more()
            if not data:
                raise Fault("the daemon closed the connection in the middle of its answer")
            piece, self._held = data[:size], data[size:]
            size -= len(piece)
            yield piece

    def _rest(self) -> Iterator[bytes]:
        while data := self._held or self._more():
            self._held = b""
            yield data

    def _line(self) -> bytes:
        line, _, self._held = self._until(b"\n").partition(b"\n")
        return line.strip()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            data = self._more()
            if not data:
                raise Fault("the daemon closed the connection without an answer")
            self._held += data
        return self._held

    def _more(self) -> bytes:
        try:
            return self._sock.recv(_CHUNK)
        except ConnectionError as error:
            raise Fault(f"the connection to the daemon was lost: {error.strerror}") from None


class HttpRequest:
    """A request that was sent and not yet answered, so that many can be under way at once."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock

    def answer(self) -> HttpResponse:
        """Wait for the head of the answer.  Raises ApiFault with the daemon's message for a status from 400 on."""
        answer = HttpResponse(self._sock)
        if answer.status >= 400:
            raise ApiFault(_message(answer), answer.status)
        return answer


class Client:
    """Makes requests to the first of *paths* at which somebody listens; *daemon* is the name to tell people."""

    def __init__(self, daemon: str, *paths: str) -> None:
        self._daemon, self._paths = daemon, paths

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: object = None,
        upgrade: bool = False,
    ) -> HttpRequest:
        """Send a request; a *body* is sent as JSON.  Raises Unreachable when no daemon listens."""
        lines = [f"{method} {target(path, query)} HTTP/1.1", "Host: netd"]
        lines.append("Connection: Upgrade\r\nUpgrade: tcp" if upgrade else "Connection: close")
        data = b""
        if body is not None:
            from json import dumps

            data = dumps(body).encode()
            lines.append("Content-Type: application/json")
        if data or method == "POST":
            lines.append(f"Content-Length: {len(data)}")
        sock = self._connect()
        _send(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + data)
        return HttpRequest(sock)

    def upload(self, path: str, query: Iterable[tuple[str, str]], content: Iterable[bytes]) -> HttpResponse:
        """Post *content* in chunks as it comes.  A daemon may refuse before it has read it all."""
        head = f"POST {target(path, query)} HTTP/1.1\r\nHost: netd\r\nConnection: close\r\n"
        sock = self._connect()
        _send(sock, f"{head}Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n".encode("ascii"))
        for piece in content:
            if piece and not _send(sock, b"%x\r\n%b\r\n" % (len(piece), piece)):
                break
        else:
            _send(sock, b"0\r\n\r\n")
        return HttpRequest(sock).answer()

    def call(
        self, method: str, path: str, *, query: Iterable[tuple[str, str]] = (), body: object = None
    ) -> HttpResponse:
        return self.ask(method, path, query=query, body=body).answer()

    def get(self, path: str, query: Iterable[tuple[str, str]] = ()) -> Any:
        return self.call("GET", path, query=query).json()

    def post(self, path: str, body: object = None, *, query: Iterable[tuple[str, str]] = ()) -> Any:
        return self.call("POST", path, query=query, body=body).json()

    def hijack(self, path: str, body: object = None, *, query: Iterable[tuple[str, str]] = ()) -> HttpResponse:
        """Post and have the connection become a raw stream, to be had by ``take()`` of the answer."""
        answer = self.ask("POST", path, query=query, body=body, upgrade=True).answer()
        if answer.status != 101:
            raise Fault(f"the daemon answered {answer.status} instead of opening a stream for {path}")
        return answer

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
        raise Unreachable(self._missing()) from refused

    def _missing(self) -> str:
        first = self._paths[0]
        run_dir = first.rpartition("/")[0]
        return f"cannot reach {self._daemon} at {first}: start it with '{self._daemon} --run-dir {run_dir}'"


def _send(sock: _socket.socket, data: bytes) -> bool:
    """Send all of *data*; False when the daemon no longer reads: its answer then says why."""
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _message(answer: HttpResponse) -> str:
    """Return the daemon's sentence: JSON's ``message``, or the text that attach answers with."""
    data = answer.read().decode("utf-8", "replace").strip()
    if data.startswith("{"):
        from json import loads

        try:
            found = loads(data).get("message")
        except ValueError:
            found = None
        if isinstance(found, str) and found:
            return found
    return data or f"the daemon answered {answer.status}"
