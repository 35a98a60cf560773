"""The bridge driver: a Linux bridge on the host per network, a veth pair per endpoint."""

from __future__ import annotations

import re
from hashlib import blake2s
from ipaddress import ip_interface

from netd.common.addresses import FAMILIES, Address, Family, Interface
from netd.common.errors import BadRequest, Forbidden
from netd.common.ids import short
from netd.drivers import EVERY_ADDRESS, Traits, bridge_options, endpoint_options, options
from netd.drivers.bridge_options import BridgeOptions
from netd.facts import Bridge, Fact, Pair, Segment
from netd.model import Endpoint, Network, NetworkSpec, Sandbox
from netd.portmap.rules import BridgeRules

_PORTS = 1023
"""Ports per bridge (BR_MAX_PORTS of the kernel, less one)."""
_SEGMENT = 256
"""Endpoints per bridge: the kernel's work for a new port grows with the ports of its bridge.

The remaining ports of the first bridge connect the other segments, more than a full /16 needs.
"""


_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_ALTERNATIVE_NAME = 127
"""ALTIFNAMSIZ of the kernel, less the final zero byte."""


class BridgeDriver:
    """A Linux bridge per network."""

    traits = Traits(segment_size=_SEGMENT, most_segments=1 + _PORTS - _SEGMENT)

    def validate(self, spec: NetworkSpec) -> None:
        bridge_options.check(spec)
        _check_pools(spec)

    def device(self, network: Network) -> str:
        return network.options.get(bridge_options.NAME) or f"nd-{short(network.id)}"

    def has_gateway(self, spec: NetworkSpec, family: Family) -> bool:
        """Return True also with ``inhibit_ipv4``, where another router has the gateway address."""
        found = bridge_options.read(spec.options)
        return found.bridge_has_address(family) or (family == 4 and found.inhibit_ipv4 and not spec.internal)

    def network_facts(self, network: Network) -> tuple[Fact, ...]:
        found = bridge_options.read(network.options)
        bridge = Bridge(
            name=self.device(network),
            addresses=tuple(_addresses(network, found)),
            mtu=_mtu(network, found),
            localnet=True,
            owned=not network.adopted,
        )
        joined = (
            Segment(name=self._bridge(network, number), bridge=bridge.name, mtu=bridge.mtu, isolated=not found.icc)
            for number in range(1, network.segments)
        )
        return (bridge, *joined)

    def rules(self, network: Network) -> BridgeRules:
        found = bridge_options.read(network.options)
        return BridgeRules(
            name=self.device(network),
            subnets=tuple(pool.subnet for pool in network.pools),
            internal=network.internal,
            isolated=not found.icc,
            trusted=found.trusted,
            ipv4=found.treatment(4, internal=network.internal) if network.ipv4 else None,
            ipv6=found.treatment(6, internal=network.internal) if network.ipv6 else None,
        )

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        found = bridge_options.read(network.options)
        pair = Pair(
            host=f"ndp{endpoint.id[:10]}",
            bridge=self._bridge(network, endpoint.segment),
            alias=_link_name(sandbox.name, network.name),
            sandbox=sandbox.id,
            inside=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            mtu=_mtu(network, found),
            isolated=not found.icc,
            sysctls=endpoint_options.sysctls(endpoint.settings.driver_opts or {}),
            antispoof=found.guard,
            announce=endpoint.announce,
        )
        return (pair,)

    def _bridge(self, network: Network, segment: int) -> str:
        return f"nds{network.id[:8]}-{segment}" if segment else self.device(network)

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        """Return the ``host_binding_ipv4`` address; 0.0.0.0 means all addresses of both families, as in Docker."""
        binding = bridge_options.read(network.options).binding
        return EVERY_ADDRESS if binding is None else (binding,)


def _link_name(container: str, network: str) -> str:
    """Return ``<container>.<network>`` as alternative name of a link, with "_" for characters other than of a name.

    A name that is too long for the kernel ends with a digest instead, so that it stays unique.
    """
    name = _NOT_OF_A_NAME.sub("_", f"{container}.{network}")
    if len(name) <= _LONGEST_ALTERNATIVE_NAME:
        return name
    digest = blake2s(f"{container}.{network}".encode(), digest_size=4).hexdigest()
    return f"{name[: _LONGEST_ALTERNATIVE_NAME - len(digest) - 1]}-{digest}"


def _addresses(network: Network, found: BridgeOptions) -> list[Interface]:
    """Return the addresses of the bridge: the gateways of the families for which it is the gateway."""
    pools = [network.pool(family) for family in FAMILIES if found.bridge_has_address(family)]
    return [ip_interface((pool.gateway, pool.subnet.prefixlen)) for pool in pools if pool and pool.gateway]


def _mtu(network: Network, found: BridgeOptions) -> int:
    return found.mtu or network.mtu or options.ORDINARY_MTU


def _check_pools(spec: NetworkSpec) -> None:
    if spec.ipam_driver == "null":
        raise BadRequest(f"{'ipv4' if spec.ipv4 else 'ipv6'} pool is empty: a bridge network needs addresses")
    versions = [pool.subnet.version for pool in spec.pools if pool.subnet]
    if len(set(versions)) < len(versions):
        raise Forbidden("bridge driver doesn't support multiple subnets: give one of each family")
