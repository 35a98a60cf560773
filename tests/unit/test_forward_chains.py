"""What forward chains of other programs do with packets that netd admits, from the rules' JSON and legacy entries."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from netd.kernel.firewall.forwarding import nft_json
from netd.kernel.firewall.forwarding.chains import ForwardChain, outcome
from netd.kernel.firewall.forwarding.flows import bridged, samples
from netd.portmap.rules import BridgeRules, GatewayMode, Treatment

PACKET = {
    "iifname": "nd-a",
    "oifname": "eth0",
    "saddr": ip_address("172.18.0.2"),
    "daddr": ip_address("192.0.2.1"),
    "state": "new",
    "status": frozenset({"dnat"}),
    "mark": 0x100,
    "nfproto": "ipv4",
}


def meta(key: str, value: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": value}}


def ct(key: str, value: Any, op: str = "in") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"ct": {"key": key}}, "right": value}}


def address(field: str, value: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": field}}, "right": value}}


def mark(mask: int, value: int) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, mask]}, "right": value}}


ACCEPT, DROP, COUNTER = {"accept": None}, {"drop": None}, {"counter": {"packets": 1, "bytes": 2}}


def verdict(*rules: list[dict[str, Any]], policy: str = "drop", **others: list[list[dict[str, Any]]]) -> str:
    """Return the verdict of a chain with these rules; *others* are further chains of its table."""
    chains = {"f": list(rules), **others}
    items = [{"rule": {"chain": name, "expr": expr}} for name, found in chains.items() for expr in found]
    chain = ForwardChain("nftables", "inet", "t", "f", 0, policy, nft_json.chains({"nftables": items}, {}))
    return outcome(chain, PACKET).verdict


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (meta("iifname", "nd-*"), True),
        (meta("iifname", "nd-b"), False),
        (meta("iifname", "nd-b", "!="), True),
        (meta("oifname", {"set": ["eth1", "eth0"]}), True),
        (meta("iifname", "@lan"), False),
        (meta("nfproto", "ipv6"), False),
        (meta("l4proto", "tcp"), False),
        (ct("state", ["established", "related"]), False),
        (ct("state", {"set": ["new", "related"]}), True),
        (ct("status", "dnat"), True),
        (ct("mark", 1), False),
        (address("saddr", {"prefix": {"addr": "172.16.0.0", "len": 12}}), True),
        (address("daddr", {"set": ["192.0.2.1", "192.0.2.9"]}), True),
        (address("daddr", {"range": ["192.0.2.1", "192.0.2.9"]}), False),
        (mark(0x100, 0x100), True),
        (mark(0x300, 0x300), False),
        ({"limit": {"rate": 1, "per": "second"}}, False),
        ({"xt": {"type": "match", "name": "conntrack"}}, False),
        ({"xt": {"type": "match", "name": "comment"}}, True),
    ],
)
def test_a_condition_counts_only_if_it_is_known_to_hold(condition: dict[str, Any], holds: bool) -> None:
    assert verdict([condition, COUNTER, ACCEPT]) == ("accept" if holds else "drop")
    assert verdict([condition, DROP], policy="accept") == ("drop" if holds else "accept")


def test_chains_are_followed_as_the_kernel_follows_them() -> None:
    jump, go = {"jump": {"target": "x"}}, {"goto": {"target": "x"}}
    accepted = [ACCEPT]
    assert verdict([jump], accepted, x=[[{"return": None}], [DROP]]) == "accept"
    assert verdict([go], accepted, x=[[COUNTER]]) == "drop"
    assert verdict([jump], x=[[meta("iifname", "nd-*"), {"reject": {"type": "icmpx"}}]], policy="accept") == "reject"
    assert verdict([meta("l4proto", "tcp"), jump], accepted, x=[[DROP]]) == "accept"
    assert verdict([COUNTER, {"xt": {"type": "target", "name": "REJECT"}}], policy="accept") == "reject"
    assert verdict([COUNTER, {"xt": {"type": "target", "name": "LOG"}}], accepted) == "accept"
    endless = [[go]]
    assert verdict([go], x=endless) == "drop"


def test_verdict_maps_are_followed() -> None:
    vmap = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["eth0", DROP], ["nd-*", ACCEPT]]}}}
    assert verdict([vmap]) == "accept"
    assert verdict([{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}], [ACCEPT]) == "accept"


def test_samples_are_those_of_the_networks() -> None:
    front = BridgeRules(name="nd-a", subnets=(ip_network("172.18.0.0/16"), ip_network("fd00::/64")), ipv6=Treatment())
    deep = BridgeRules(name="nd-b", subnets=(ip_network("172.19.0.0/16"),), internal=True)
    routed = BridgeRules(name="br0", subnets=(ip_network("10.0.0.0/30"),), ipv4=Treatment(mode=GatewayMode.ROUTED))
    found = samples([front, deep, routed], "eth0", [4], 1)
    kinds = {(flow.bridge, flow.traffic.value, flow.family) for flow in found}
    outside = {("nd-a", kind, family) for kind in ("outgoing", "published") for family in (4, 6)}
    assert kinds == outside | {("nd-a", "same network", 4), ("nd-b", "same network", 4), ("br0", "same network", 4)} | {
        ("br0", "outgoing", 4),
        ("br0", "published", 4),
    }
    published = next(
        flow for flow in found if (flow.bridge, flow.traffic.value, flow.reply) == ("br0", "published", False)
    )
    assert published.packet["status"] == frozenset() and published.packet["iifname"] == "eth0"
    assert all(
        "iifname" not in flow.packet
        for flow in samples([front], "", [], 1)
        if flow.traffic.value == "published" and not flow.reply
    )
    assert [flow.packet["ibrname"] for flow in bridged([front])] == ["nd-a"]
