"""``/netd/v1/ui``: the page that shows the topology, and what is served of it at a TCP address."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from aiohttp import web

from netd.common.http.web import Call, HttpRoute
from netd.server import topology_routes
from netd.ui import page

PATH = "/netd/v1/ui"
_SERVED = frozenset({PATH, topology_routes.PATH, topology_routes.STREAM_PATH})


class UiRoutes:
    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("GET", PATH, self.page)]

    async def page(self, _: Call) -> web.StreamResponse:
        return web.Response(text=page.live(), headers=page.headers())


def refusal(request: web.BaseRequest) -> web.Response | None:
    """Return the response to a request that is not served over TCP; None for the page and its data.

    The host must be named by a loopback address or ``localhost``: a page of the web whose name resolves to a loopback
    address (DNS rebinding) names its own.
    """
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        return _text(403, "the page is served to the hosts localhost, 127.0.0.1 and [::1] only")
    if request.method != "GET":
        return _text(405, "only GET is served here")
    if request.path == "/":
        return web.Response(status=302, headers={"Location": PATH})
    return None if request.path in _SERVED else _text(404, f"only {PATH} and its data are served here")


def _text(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=f"{message}\n", headers={"X-Content-Type-Options": "nosniff"})


def _is_loopback(host: str) -> bool:
    bare = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    port = host[len(bare) :]
    if port and not (port[1:].isascii() and port[1:].isdigit()):
        return False
    if bare.lower() == "localhost":
        return True
    try:
        return ip_address(bare.strip("[]") if bare.startswith("[") else bare).is_loopback
    except ValueError:
        return False
