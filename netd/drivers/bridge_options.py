"""The options of bridge networks: Docker's names, validation, and parsed values.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from netd.common.addresses import EVERY_IPV4, Address, Family
from netd.common.errors import BadRequest, ServerError
from netd.drivers import options
from netd.model import NetworkSpec
from netd.portmap.rules import GatewayMode, Treatment

_BRIDGE = options.PREFIX + "bridge."
NAME = _BRIDGE + "name"
MASQUERADE = _BRIDGE + "enable_ip_masquerade"
ICC = _BRIDGE + "enable_icc"
BINDING = _BRIDGE + "host_binding_ipv4"
MODES: dict[Family, str] = {4: _BRIDGE + "gateway_mode_ipv4", 6: _BRIDGE + "gateway_mode_ipv6"}
INHIBIT = _BRIDGE + "inhibit_ipv4"
TRUSTED = _BRIDGE + "trusted_host_interfaces"
SOURCES: dict[Family, str] = {4: options.PREFIX + "host_ipv4", 6: options.PREFIX + "host_ipv6"}
IPV4 = options.PREFIX + "enable_ipv4"
IPV6 = options.PREFIX + "enable_ipv6"
GUARD = "netd.guard"
ADVERTISED = options.PREFIX + "advertise_addr_nmsgs"
ADVERTISED_EVERY = options.PREFIX + "advertise_addr_ms"
KNOWN = frozenset(
    (
        *(NAME, MASQUERADE, ICC, BINDING, INHIBIT, TRUSTED, IPV4, IPV6, ADVERTISED, ADVERTISED_EVERY, GUARD),
        *(*MODES.values(), *SOURCES.values(), options.MTU, options.INTERFACE_PREFIX),
    )
)
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_ADVERTISED, _ADVERTISED_EVERY = range(4), range(100, 2001)
"""Allowed numbers of address announcements, and of milliseconds between two announcements."""

DEFAULT_DEVICE = "netd0"
DEFAULT_OPTIONS = {
    _BRIDGE + "default_bridge": "true",
    ICC: "true",
    MASQUERADE: "true",
    BINDING: str(EVERY_IPV4),
    NAME: DEFAULT_DEVICE,
}
"""The options of the default bridge network, as Docker shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """The parsed options of one network."""

    name: str
    """The name of the bridge; empty: netd chooses."""
    masquerade: bool
    icc: bool
    """Containers on the network can reach each other."""
    binding: Address | None
    """Default host address for published ports; None is all addresses."""
    modes: Mapping[Family, GatewayMode]
    inhibit_ipv4: bool
    """The bridge has no IPv4 address: another router is the gateway."""
    trusted: tuple[str, ...]
    sources: Mapping[Family, Address | None]
    mtu: int
    """0: netd chooses."""
    guard: bool
    """Anti-spoofing: containers send from their own addresses only; off for routers and shared addresses (VRRP)."""

    def treatment(self, family: Family, *, internal: bool) -> Treatment:
        """Return the firewall's treatment of one family."""
        mode = self.modes[family]
        masquerade = self.masquerade and not internal and mode in (GatewayMode.NAT, GatewayMode.UNPROTECTED)
        return Treatment(mode=mode, masquerade=masquerade, source=self.sources[family])

    def bridge_has_address(self, family: Family) -> bool:
        """Return True if the bridge has the gateway address of the family."""
        return self.modes[family] is not GatewayMode.ISOLATED and not (family == 4 and self.inhibit_ipv4)


def read(given: Mapping[str, str]) -> BridgeOptions:
    """Return the parsed options.  Raises BadRequest, or ServerError where Docker does, for an invalid value."""
    return _read(tuple(given.items()))


@lru_cache(maxsize=64)
def _read(items: tuple[tuple[str, str], ...]) -> BridgeOptions:
    """Each change of a network or endpoint needs the options several times."""
    given = dict(items)
    binding = options.address(given, BINDING)
    return BridgeOptions(
        name=_name(given.get(NAME, "")),
        masquerade=options.flag(given, MASQUERADE, True),
        icc=options.flag(given, ICC, True),
        binding=None if binding == EVERY_IPV4 else binding,
        modes={family: _mode(given, name) for family, name in MODES.items()},
        inhibit_ipv4=options.flag(given, INHIBIT, False),
        trusted=_trusted(given.get(TRUSTED, "")),
        sources={
            4: options.address_of(given, SOURCES[4], IPv4Address),
            6: options.address_of(given, SOURCES[6], IPv6Address),
        },
        mtu=options.mtu(given),
        guard=options.flag(given, GUARD, True),
    )


def check(spec: NetworkSpec) -> None:
    """Raise BadRequest, or ServerError where Docker does, for options that are invalid for the network."""
    options.refuse_unknown(spec.options, KNOWN, "bridge networks")
    found = read(spec.options)
    if GatewayMode.ISOLATED in found.modes.values() and not spec.internal:
        raise ServerError("gateway mode 'isolated' can only be used for an internal network")
    if spec.internal and any(key in pool.auxiliary for key in options.GATEWAYS.values() for pool in spec.pools):
        raise BadRequest("no gateway can be set on an internal bridge network")
    options.interface_prefix(spec.options)
    for name in (IPV4, IPV6):
        options.flag(spec.options, name, True)
    for name, allowed in ((ADVERTISED, _ADVERTISED), (ADVERTISED_EVERY, _ADVERTISED_EVERY)):
        if options.number(spec.options, name, allowed.stop - 1) not in allowed:
            raise ServerError(f"{name} must be in the range {allowed.start} to {allowed.stop - 1}")


def _name(name: str) -> str:
    if name and (not _LINK.match(name) or name in (".", "..", "lo", "all", "default")):
        raise options.unreadable(NAME, name, "a bridge's name has up to 15 letters, digits, '_', '.' and '-'")
    return name


def _mode(given: Mapping[str, str], name: str) -> GatewayMode:
    text = given.get(name, "") or GatewayMode.NAT
    try:
        return GatewayMode(text)
    except ValueError:
        raise options.unreadable(name, text, f"unknown gateway mode {text}") from None


def _trusted(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, text.split(":"))))
    for name in names:
        if not options.is_link_name(name):
            raise options.unreadable(TRUSTED, text, f"{name!r} is not the name of a link; write them like eth0:eth1")
    return names
