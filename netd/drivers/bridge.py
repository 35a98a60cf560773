"""The bridge driver: a Linux bridge on the host per network, a veth pair per endpoint."""

from __future__ import annotations

import re
from ipaddress import ip_interface

from netd.common.addresses import EVERY_IPV4, FAMILIES, Address, Family, Interface
from netd.common.errors import BadRequest, Forbidden
from netd.common.ids import short
from netd.drivers import EVERY_ADDRESS, Traits, options
from netd.facts import Bridge, Fact, Pair
from netd.model import Endpoint, Network, NetworkSpec, Sandbox
from netd.portmap.rules import BridgeRules, Treatment

NAME = options.PREFIX + "bridge.name"
MASQUERADE = options.PREFIX + "bridge.enable_ip_masquerade"
BINDING = options.PREFIX + "bridge.host_binding_ipv4"
ICC = options.PREFIX + "bridge.enable_icc"
MTU = options.PREFIX + "driver.mtu"
IPV4 = options.PREFIX + "enable_ipv4"
IPV6 = options.PREFIX + "enable_ipv6"
_KNOWN = frozenset((NAME, MASQUERADE, BINDING, ICC, MTU, IPV4, IPV6))
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_ORDINARY_MTU = 1500
_MTUS = range(68, 65536)

DEFAULT_DEVICE = "netd0"
DEFAULT_OPTIONS = {
    options.PREFIX + "bridge.default_bridge": "true",
    ICC: "true",
    MASQUERADE: "true",
    BINDING: str(EVERY_IPV4),
    NAME: DEFAULT_DEVICE,
    MTU: str(_ORDINARY_MTU),
}
"""What the default bridge network shows, as Docker's does."""


class BridgeDriver:
    traits = Traits()

    def validate(self, spec: NetworkSpec) -> None:
        options.refuse_unknown(spec.options, _KNOWN, "bridge networks")
        _check_pools(spec)
        _check_name(spec.options.get(NAME, ""))
        _check_mtu(options.number(spec.options, MTU, 0))
        options.flag(spec.options, MASQUERADE, True)
        options.address(spec.options, BINDING)
        for name, only in ((ICC, True), (IPV4, True), (IPV6, False)):
            if options.flag(spec.options, name, only) is not only:
                raise BadRequest(f"option {name} can only be {str(only).lower()}: nothing else is supported")

    def device(self, network: Network) -> str:
        return network.options.get(NAME) or f"nd-{short(network.id)}"

    def network_facts(self, network: Network) -> tuple[Fact, ...]:
        bridge = Bridge(
            name=self.device(network),
            addresses=tuple(found for family in FAMILIES if (found := _gateway(network, family))),
            mtu=_mtu(network),
            localnet=not network.internal,
            owned=not network.adopted,
        )
        return (bridge,)

    def rules(self, network: Network) -> BridgeRules:
        treatment = Treatment(masquerade=options.flag(network.options, MASQUERADE, True))
        return BridgeRules(
            name=self.device(network),
            subnets=tuple(pool.subnet for pool in network.pools),
            internal=network.internal,
            ipv4=treatment if network.ipv4 else None,
            ipv6=treatment if network.ipv6 else None,
        )

    def endpoint_facts(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> tuple[Fact, ...]:
        pair = Pair(
            host=f"ndp{endpoint.id[:10]}",
            bridge=self.device(network),
            alias=f"{sandbox.name}.{network.name}",
            sandbox=sandbox.id,
            inside=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            mtu=_mtu(network),
        )
        return (pair,)

    def binding_addresses(self, network: Network) -> tuple[Address, ...]:
        """An address other than 0.0.0.0 stands alone; 0.0.0.0 means every address of both families, as in Docker."""
        given = options.address(network.options, BINDING)
        return EVERY_ADDRESS if given in (None, EVERY_IPV4) else (given,)


def _gateway(network: Network, family: Family) -> Interface | None:
    pool = network.pool(family)
    return ip_interface((pool.gateway, pool.subnet.prefixlen)) if pool and pool.gateway else None


def _mtu(network: Network) -> int:
    return options.number(network.options, MTU, 0) or _ORDINARY_MTU


def _check_pools(spec: NetworkSpec) -> None:
    versions = [pool.subnet.version for pool in spec.pools if pool.subnet]
    if len(set(versions)) < len(versions):
        raise Forbidden("bridge driver doesn't support multiple subnets: give one of each family")


def _check_name(name: str) -> None:
    if name and (not _LINK.match(name) or name in (".", "..", "lo")):
        raise options.unreadable(NAME, name, "a bridge's name has up to 15 letters, digits, '_', '.' and '-'")


def _check_mtu(mtu: int) -> None:
    if mtu and mtu not in _MTUS:
        raise BadRequest(f"invalid MTU number: {mtu}: {MTU} is {_MTUS.start} to {_MTUS.stop - 1}")
