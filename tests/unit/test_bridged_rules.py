"""Whether chains of other programs may do anything to packets within a network, from what is known of the packets."""

from __future__ import annotations

import struct
from ipaddress import ip_network
from typing import Any

import pytest

from netd.kernel.firewall.forwarding import nft_json
from netd.kernel.firewall.forwarding.chains import UNKNOWN, Among, ForeignRule, ForwardChain
from netd.kernel.firewall.forwarding.chains import Test as Condition
from netd.kernel.firewall.forwarding.effects import EffectSearch, has_effect
from netd.kernel.firewall.forwarding.extensions import Extension, condition, effect

NETWORKS = Among((ip_network("172.18.0.0/16"), ip_network("172.20.0.0/24")))
PACKET = {
    "iifname": Among(("nd-a", "nd-b")),
    "saddr": NETWORKS,
    "daddrtype": "unicast",
    "mark": 0x100,
    "state": Among(("new", "established")),
}
DROP, ACCEPT, RETURN = ForeignRule(verdict="drop"), ForeignRule(verdict="accept"), ForeignRule(verdict="return")


def rule(verdict: str, *tests: Condition, target: str = "", effect: str = "") -> ForeignRule:
    return ForeignRule(tests, verdict, target, effect=effect)


def place(*rules: ForeignRule, policy: str = "accept", **others: list[ForeignRule]) -> str:
    chains = {"f": list(rules), **others}
    return EffectSearch(ForwardChain("nftables", "ip", "t", "f", policy=policy), chains.__getitem__, has_effect).place(
        PACKET
    )


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        (Condition("iifname", ("nd-*",)), True),
        (Condition("iifname", ("nd-a",)), None),
        (Condition("iifname", ("nd-a",), True), None),
        (Condition("iifname", ("nd-a", "nd-b"), True), False),
        (Condition("iifname", ("docker0",), True), True),
        (Condition("saddr", (ip_network("172.16.0.0/12"),)), True),
        (Condition("saddr", (ip_network("172.18.0.3/32"),)), None),
        (Condition("saddr", (ip_network("172.18.0.0/16"),)), None),
        (Condition("saddr", (ip_network("172.17.0.0/16"),)), False),
        (Condition("saddr", (ip_network("172.17.0.0/16"),), True), True),
        (Condition("state", ("invalid",)), False),
        (Condition("state", ("invalid", "new")), None),
        (Condition("state", ("established", "new")), True),
        (Condition("daddrtype", ("local",)), False),
        (UNKNOWN, None),
    ],
)
def test_a_condition_holds_for_all_packets_or_none_or_some(test: Condition, holds: bool | None) -> None:
    assert test.holds(PACKET) is holds


def test_rules_that_may_match_have_an_effect_unless_an_earlier_rule_ends_the_chain() -> None:
    port, other, ours = UNKNOWN, Condition("iifname", ("docker0",)), Condition("mark", ((0x100, 0x100),))
    assert place(rule("drop", port)) == "rule 1 of chain f"
    assert place(rule("accept", port), rule("drop", other)) == ""
    assert place(rule("accept", port), DROP) == "rule 2 of chain f"
    assert place(rule("accept", ours), DROP, policy="drop") == ""
    assert place(rule("accept", port), policy="drop") == "policy"
    assert place(rule("", port, effect="LOG")) == "rule 1 of chain f"
    assert place(ForeignRule(), RETURN, DROP) == ""


def test_chains_are_followed_under_conditions_that_may_hold() -> None:
    port, other = UNKNOWN, Condition("iifname", ("docker0",))
    assert place(rule("jump", port, target="x"), x=[DROP]) == "rule 1 of chain x"
    assert place(rule("jump", other, target="x"), x=[DROP]) == ""
    assert place(rule("jump", target="x"), DROP, x=[ACCEPT]) == ""
    assert place(rule("jump", target="x"), DROP, x=[rule("return", port), ACCEPT]) == "rule 2 of chain f"
    assert place(rule("goto", target="x"), DROP, x=[]) == ""
    assert place(rule("goto", target="x"), policy="drop", x=[]) == "policy"
    assert place(rule("goto", port, target="x"), DROP, x=[ACCEPT]) == "rule 2 of chain f"
    assert place(rule("jump", target="x"), policy="drop", x=[rule("goto", target="y")], y=[]) == "policy"


def conntrack(states: int, inverted: int = 0) -> Extension:
    return Extension("conntrack", 3, bytes(136) + struct.pack("=13H", 0, 0, 0, 0, 0, 1, inverted, states, *[0] * 5))


@pytest.mark.parametrize(
    ("match", "test"),
    [
        (conntrack(0b110), Condition("state", ("established", "related"))),
        (conntrack(1, inverted=1), Condition("state", ("invalid",), True)),
        (conntrack(1 << 6 | 1 << 3), UNKNOWN),
        (Extension("addrtype", 1, struct.pack("=HHI", 0, 4, 0)), Condition("daddrtype", ("local",))),
        (Extension("addrtype", 1, struct.pack("=HHI", 0, 4, 2)), Condition("daddrtype", ("local",), True)),
        (Extension("addrtype", 1, struct.pack("=HHI", 4, 0, 0)), UNKNOWN),
        (Extension("addrtype", -1, b""), UNKNOWN),
        (Extension("tcp", 0, bytes(16)), UNKNOWN),
        (Extension("comment", 0, bytes(256)), None),
    ],
)
def test_matches_of_iptables_are_conditions(match: Extension, test: Condition | None) -> None:
    assert condition(match) == test


def test_targets_of_iptables_have_effects() -> None:
    address = bytes((172, 17, 0, 2))
    dnat = Extension("DNAT", 2, struct.pack("<I", 3) + address.ljust(16, b"\0") * 2 + bytes(8))
    assert effect(dnat, 4).leads_to == ip_network("172.17.0.2/32")
    assert effect(Extension("DNAT", 0, struct.pack("<II", 1, 1) + address * 2), 4).leads_to == ip_network("172.17.0.2")
    spread = Extension(
        "DNAT", 2, struct.pack("<I", 1) + address.ljust(16, b"\0") + bytes((172, 18, 0, 2)).ljust(24, b"\0")
    )
    assert effect(spread, 4).effect == "DNAT" and effect(spread, 4).leads_to is None
    assert effect(Extension("REJECT", 0, bytes(4)), 4).verdict == "reject"
    assert effect(Extension("CT", 2, b"\1\0".ljust(72, b"\0")), 4).effect == ""
    assert effect(Extension("NOSUCH", 7, b""), 4).effect == "NOSUCH"


def rules(*statements: dict[str, Any], extensions: list[Extension] | None = None) -> tuple[ForeignRule, ...]:
    item = {"rule": {"family": "ip", "chain": "f", "handle": 7, "expr": list(statements)}}
    return nft_json.chains({"nftables": [item]}, {7: extensions or []})["f"]


def test_statements_of_nftables_have_effects() -> None:
    assert rules({"counter": {}}, {"accept": None}) == (ForeignRule((), "accept", "", 7),)
    assert rules({"log": None}, {"drop": None})[0].effect == "log"
    assert rules({"mangle": {}})[0].effect == "mangle"
    assert rules({"dnat": {"addr": "172.17.0.2", "port": 80}})[0].leads_to == ip_network("172.17.0.2/32")
    assert rules({"dnat": {"addr": {"map": {}}}})[0].leads_to is None
    local = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}
    assert rules(local, {"drop": None})[0].tests == (Condition("daddrtype", ("local",)),)


def test_extensions_of_iptables_nft_are_taken_in_the_order_of_the_rule() -> None:
    xt = {"xt": {"type": "match", "name": "conntrack"}}, {"xt": {"type": "target", "name": "LOG"}}
    [found] = rules(*xt, extensions=[conntrack(1), Extension("LOG", 0, b"")])
    assert (found.tests, found.effect) == ((Condition("state", ("invalid",)),), "LOG")
    [unknown] = rules(*xt, extensions=[])
    assert (unknown.tests, unknown.effect) == ((UNKNOWN,), "LOG")
