"""Publishes and unpublishes ports of an existing container: now if it runs, and at every later start."""

from __future__ import annotations

import logging
from urllib.parse import quote

import msgspec

from netd.api import PortBindings, PortsRequest, SandboxView
from netd.client import NetdClient
from netd.common import allow, codec
from netd.common.errors import BadRequest, NotFound, Problem, Unavailable
from runtime.container_config import HostConfig
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.network.attachment import NetworkAttachments
from runtime.engine.options import networking, port_bindings

_log = logging.getLogger(__name__)


class _NetworkFamilies(msgspec.Struct, frozen=True):
    """The address families of a network, decoded from its inspect response."""

    ipv4: bool = msgspec.field(default=True, name="EnableIPv4")
    ipv6: bool = msgspec.field(default=False, name="EnableIPv6")


class PortPublisher:
    def __init__(self, netd: NetdClient, containers: Containers, network: NetworkAttachments) -> None:
        self._network = network
        self._netd = netd
        self._containers = containers

    async def publish(self, container: Container, bindings: PortBindings) -> None:
        """Publish the ports *bindings*.  If a Problem is raised, nothing has changed."""
        _check(container, bindings)
        async with container.hold():
            host = port_bindings.add(container.record.host, bindings)
            view = None
            if not container.record.state.alive:
                await self._network.check(msgspec.structs.replace(container.record, host=host))
            else:
                view = await self._netd.publish(container.id, PortsRequest(port_bindings=bindings))
            try:
                await self._record(container, host, view)
            except Problem:
                if view is not None:
                    await self._roll_back(container, bindings)
                raise

    async def unpublish(self, container: Container, bindings: PortBindings) -> None:
        """Unpublish the ports *bindings*.  Raises NotFound, which names the ports, if none of them is published."""
        _check(container, bindings)
        async with container.hold():
            record = container.record
            published = record.network.ports if record.network else {}
            exposed = list(record.config.exposed_ports or ())
            host = port_bindings.remove(record.host, exposed, bindings, published)
            if record.state.alive:
                request = PortsRequest(port_bindings=bindings, exposed_ports=exposed)
                await self._record(container, host, await self._netd.unpublish(container.id, request))
                return
            if host == port_bindings.remove(record.host, exposed, {}, published):
                raise NotFound(f"container {record.name} publishes no port {', '.join(bindings)}")
            await self._record(container, host, None)

    async def warnings(self, container: Container) -> list[str]:
        """Return a warning for each host address whose family none of the container's networks has."""
        record = container.record
        addresses = {
            binding.host_ip.strip("[]"): None
            for bindings in (record.host.port_bindings or {}).values()
            for binding in bindings or ()
            if binding.host_ip
        }
        if not addresses or networking.shares_network(record.host) or networking.mode(record.host) in ("host", "none"):
            return []
        families: set[str] = set()
        for name in record.endpoints:
            families |= await self._families(name)
        return [
            f"Published ports on {address} are discarded: no network of the container has {family}"
            for address in addresses
            if (family := "IPv6" if ":" in address else "IPv4") not in families
        ]

    async def dropped(self, container: Container) -> list[str]:
        """Return a warning for each rule of the host that drops connections to published ports; none without ports."""
        if not container.record.host.port_bindings:
            return []
        try:
            return (await self._netd.system()).dropped
        except Problem:
            return []

    async def _families(self, network: str) -> set[str]:
        """Return the families of a network; both if the network cannot be inspected."""
        try:
            response = await self._netd.forward("GET", f"/networks/{quote(network, safe='')}", {}, b"")
        except Unavailable:
            return {"IPv4", "IPv6"}
        if response.status != 200:
            return {"IPv4", "IPv6"}
        network_families = codec.decode(response.body, _NetworkFamilies)
        enabled = (("IPv4", network_families.ipv4), ("IPv6", network_families.ipv6))
        return {name for name, has in enabled if has}

    async def _record(self, container: Container, host: HostConfig, view: SandboxView | None) -> None:
        if view is None:
            await self._containers.update(container, host=host)
        else:
            await self._containers.update(container, host=host, network=view.network_settings)

    async def _roll_back(self, container: Container, bindings: PortBindings) -> None:
        try:
            await self._netd.unpublish(container.id, PortsRequest(port_bindings=bindings))
        except Problem as problem:
            _log.warning("port not unpublished: container=%s error=%s", container.id[:12], problem.message)


def _check(container: Container, bindings: PortBindings) -> None:
    host = container.record.host
    if not bindings:
        raise BadRequest("no port is given: list the ports in PortBindings")
    if networking.shares_network(host):
        raise BadRequest("conflicting options: port publishing and the container type network mode")
    if networking.mode(host) == "host":
        raise BadRequest(
            f"container {container.record.name} shares the host's network:"
            " its ports are the host's own, none is published"
        )
    networking.check_ports((), bindings)
    allow.rules(container.record.config.labels or {})
