"""Detection of tracked connections that a ruleset would not have admitted, by their endpoints and translation."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from netd.common.addresses import Address
from netd.kernel.stray_connections import PROTOCOLS, StrayFilter
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset, Treatment

OUTSIDE, UPLINK, GATEWAY = "198.51.100.2", "198.51.100.1", "172.18.0.1"
WEB, PAL, SHOP, VAULT, ROUTED, BARE, TRUSTING = (f"172.{number}.0.{last}" for number, last in
    ((18, 2), (18, 3), (20, 2), (21, 2), (22, 2), (23, 2), (24, 2)))  # fmt: skip


_NAT = Treatment()


def network(number: int, treatment: Treatment = _NAT, **rules: object) -> BridgeRules:
    return BridgeRules(name=f"nd-{number}", subnets=(ip_network(f"172.{number}.0.0/16"),), ipv4=treatment, **rules)


RULES = Ruleset(
    frozenset(
        {
            network(18),
            network(20),
            network(21, internal=True),
            network(22, Treatment(mode=GatewayMode.ROUTED)),
            network(23, Treatment(mode=GatewayMode.UNPROTECTED, masquerade=False)),
            network(24, trusted=("wg0",)),
        }
    ),
    frozenset({Published("tcp", ip_address("0.0.0.0"), 8080, ip_address(WEB), 80, 2)}),
    frozenset({Opened("tcp", ip_address(ROUTED), 443)}),
)
DECIDES = StrayFilter(RULES, frozenset(map(ip_address, (UPLINK, GATEWAY))))


@dataclass(frozen=True, slots=True)
class Entry:
    protocol: int
    source: Address
    destination: Address
    port: int
    reply_source: Address
    reply_destination: Address


def entry(
    source: str, to: str, port: int = 81, *, reply_source: str = "", reply_destination: str = "", what: str = "tcp"
) -> Entry:
    number = PROTOCOLS.get(what, 1)
    ends = map(ip_address, (source, to))
    return Entry(number, *ends, port, ip_address(reply_source or to), ip_address(reply_destination or source))


@pytest.mark.parametrize(
    "stray",
    [
        entry(OUTSIDE, WEB),
        entry(SHOP, WEB),
        entry(WEB, OUTSIDE),
        entry(VAULT, OUTSIDE),
        entry(OUTSIDE, VAULT),
        entry(WEB, VAULT),
        entry(OUTSIDE, ROUTED, 81),
        entry(OUTSIDE, UPLINK, 8081),
    ],
    ids=str,
)
def test_what_the_rules_would_have_dropped_or_translated_is_a_stray(stray: Entry) -> None:
    assert DECIDES.include(stray)


@pytest.mark.parametrize(
    "admitted",
    [
        entry(OUTSIDE, UPLINK, 8080, reply_source=WEB),
        entry(WEB, OUTSIDE, reply_destination=UPLINK),
        entry(WEB, PAL),
        entry(WEB, GATEWAY),
        entry(UPLINK, WEB),
        entry(OUTSIDE, UPLINK, 22),
        entry(OUTSIDE, "203.0.113.5", 443),
        entry(OUTSIDE, ROUTED, 443),
        entry(OUTSIDE, ROUTED, 0, what="icmp"),
        entry(ROUTED, OUTSIDE),
        entry(BARE, OUTSIDE),
        entry(OUTSIDE, BARE),
        entry(OUTSIDE, TRUSTING),
        entry(WEB, "224.0.0.251"),
    ],
    ids=str,
)
def test_admitted_and_foreign_connections_are_no_strays(admitted: Entry) -> None:
    assert not DECIDES.include(admitted)
