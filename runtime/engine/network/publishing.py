"""Publishing more, or less, of a container that is there: at once where it runs, and from now on at every start."""

from __future__ import annotations

import logging
from urllib.parse import quote

import msgspec

from netd.api import PortBindings, PortsRequest, SandboxView
from netd.client import NetdClient
from netd.common import allow, codec
from netd.common.errors import BadRequest, NotFound, Problem
from runtime.container_config import HostConfig
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options import networking, port_bindings

_log = logging.getLogger(__name__)


class _Shown(msgspec.Struct, frozen=True):
    """What counts of a network here."""

    ipv4: bool = msgspec.field(default=True, name="EnableIPv4")
    ipv6: bool = msgspec.field(default=False, name="EnableIPv6")


class PortPublisher:
    def __init__(self, netd: NetdClient, containers: Containers) -> None:
        self._netd = netd
        self._containers = containers

    async def add(self, container: Container, more: PortBindings) -> None:
        """Publish more of the container.  Raises the Problem that prevents it; nothing is changed then."""
        _check(container, more)
        async with container.lock:
            host = port_bindings.added(container.record.host, more)
            view = None
            if container.record.state.alive:
                view = await self._netd.publish(container.id, PortsRequest(port_bindings=more))
            try:
                await self._record(container, host, view)
            except Problem:
                if view is not None:
                    await self._take_back(container, more)
                raise

    async def remove(self, container: Container, less: PortBindings) -> None:
        """Publish less of it.  Raises NotFound naming what is not published."""
        _check(container, less)
        async with container.lock:
            record = container.record
            given = record.network.ports if record.network else {}
            exposed = list(record.config.exposed_ports or ())
            host = port_bindings.removed(record.host, exposed, less, given)
            if record.state.alive:
                asked = PortsRequest(port_bindings=less, exposed_ports=exposed)
                await self._record(container, host, await self._netd.unpublish(container.id, asked))
                return
            if host == port_bindings.removed(record.host, exposed, {}, given):
                raise NotFound(f"container {record.name} publishes no port {', '.join(less)}")
            await self._record(container, host, None)

    async def warnings(self, container: Container) -> list[str]:
        """Return a sentence for each address that a port is to be published on and none of the networks can serve."""
        record = container.record
        wanted = {
            one.host_ip.strip("[]"): one
            for many in (record.host.port_bindings or {}).values()
            for one in many or ()
            if one.host_ip
        }
        if not wanted or networking.shares_network(record.host) or networking.mode(record.host) in ("host", "none"):
            return []
        served: set[str] = set()
        for name in record.endpoints:
            served |= await self._families(name)
        return [
            f"Published ports on {address} are discarded: no network of the container has {family}"
            for address in wanted
            if (family := "IPv6" if ":" in address else "IPv4") not in served
        ]

    async def _families(self, network: str) -> set[str]:
        """Return the families that a network has; both where it is not known yet."""
        answer = await self._netd.forward("GET", f"/networks/{quote(network, safe='')}", {}, b"")
        if answer.status != 200:
            return {"IPv4", "IPv6"}
        shown = codec.decode(answer.body, _Shown)
        return {name for name, has in (("IPv4", shown.ipv4), ("IPv6", shown.ipv6)) if has}

    async def _record(self, container: Container, host: HostConfig, view: SandboxView | None) -> None:
        if view is None:
            await self._containers.change(container, host=host)
        else:
            await self._containers.change(container, host=host, network=view.network_settings)

    async def _take_back(self, container: Container, more: PortBindings) -> None:
        try:
            await self._netd.unpublish(container.id, PortsRequest(port_bindings=more))
        except Problem as problem:
            _log.warning("port stays published: container=%s error=%s", container.id[:12], problem.message)


def _check(container: Container, asked: PortBindings) -> None:
    host = container.record.host
    if not asked:
        raise BadRequest("no port is named: say which in PortBindings")
    if networking.shares_network(host):
        raise BadRequest("conflicting options: port publishing and the container type network mode")
    if networking.mode(host) == "host":
        raise BadRequest(
            f"container {container.record.name} shares the host's network:"
            " its ports are the host's own, none is published"
        )
    networking.check_ports((), asked)
    allow.rules(container.record.config.labels or {})
