"""A client for ``--dry-run``: reads pass, and everything that would change something succeeds without being sent."""

from __future__ import annotations

from itertools import count

from netd.cli.transport.http import Client, HttpRequest, HttpResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


class DryRunClient(Client):
    """Objects that would be created have ids of their own."""

    def __init__(self, daemon: str, *paths: str) -> None:
        super().__init__(daemon, *paths)
        self._numbers = count(1)

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
        if method in ("GET", "HEAD"):
            return super().send(method, path, query=query, body=body, upgrade=upgrade, headers=headers)
        return _UnsentRequest(f"{next(self._numbers):064x}")

    def upload(
        self,
        path: str,
        query: Iterable[tuple[str, str]],
        content: Iterable[bytes],
        *,
        method: str = "POST",
        headers: Iterable[tuple[str, str]] = (),
    ) -> HttpResponse:
        return _UnsentRequest("").response()


class _UnsentRequest(HttpRequest):
    def __init__(self, id: str) -> None:
        self._id = id

    def response(self) -> HttpResponse:
        return _SupposedResponse(self._id)


class _SupposedResponse(HttpResponse):
    def __init__(self, id: str) -> None:
        self._id = id
        self.status = 201
        self.headers = {}

    def chunks(self) -> Iterator[bytes]:
        return iter(())

    def json(self) -> Any:
        return {"Id": self._id, "Warnings": []}

    def close(self) -> None:
        """Nothing was opened."""
