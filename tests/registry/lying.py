"""A registry in the test's own event loop, which answers as each test says: wrong digests, cut bodies, redirects."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from netd.common.config import Settings
from runtime.registry.access_policy import AccessPolicy
from runtime.registry.registry_client import RegistryClient
from runtime.registry.tls import TrustStore
from runtime.registry.transport import TransferLimits, Transport

FAST = TransferLimits(connect=2, stall=0.3, least_rate=1000, whole=1.0, attempts=3, first_pause=0.01, longest_pause=0.5)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Lying:
    """``answers`` has a handler by path below /v2/NAME/; ``seen`` records (method, path, headers)."""

    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def requests(self, path: str) -> list[dict[str, str]]:
        return [headers for _, found, headers in self.seen if found == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v2/a/b/")
        self.seen.append((request.method, path, dict(request.headers)))
        answer = self.answers.get(path)
        if answer is not None:
            return await answer(request)
        return web.Response() if path == "/v2/" else web.json_response({"errors": []}, status=404)


@contextlib.asynccontextmanager
async def lying(*, port: int = 0, **answers: Answer) -> AsyncIterator[Lying]:
    """Serve; keyword ``blob`` is the answer for the blob of :data:`DATA`, others are paths with ``_`` for ``/``."""
    made = Lying({f"blobs/{DIGEST}" if name == "blob" else name.replace("_", "/"): a for name, a in answers.items()})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    made.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield made
    finally:
        await runner.cleanup()


def policy_of(insecure=(), mirrors=()) -> AccessPolicy:
    return AccessPolicy.from_settings(Settings(insecure_registries=tuple(insecure), registry_mirrors=tuple(mirrors)))


@contextlib.asynccontextmanager
async def client(insecure=(), mirrors=(), **fields) -> AsyncIterator[RegistryClient]:
    limits = fields.pop("limits", FAST)
    made = RegistryClient(Transport(policy_of(insecure, mirrors), TrustStore([]), limits, **fields))
    try:
        yield made
    finally:
        await made.close()


DATA = bytes(range(256)) * 4096
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


async def cut(request: web.Request, data: bytes, announced: int, status: int = 200, **headers: str) -> web.Response:
    """Send *data* of a body of *announced* bytes and close the connection."""
    response = web.StreamResponse(status=status, headers={"Content-Length": str(announced), **headers})
    await response.prepare(request)
    await response.write(data)
    request.transport.close()
    return response
