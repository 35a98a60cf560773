"""nftables scripts change exactly the elements that differ from the current ruleset."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from netd.kernel.firewall.nftables import script as ruleset
from netd.kernel.firewall.nftables.elements import elements
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset, RulesetChange, Treatment

COMMAND = re.compile(r"(add|delete) element inet netd (\w+) \{ (.*) \}")
Elements = dict[tuple[str, str], str]

ports = st.integers(1, 40).map(lambda n: n * 100)
counts = st.sampled_from([1, 1, 2, 50])
allowed = st.sampled_from([(), ("10.0.0.0/8", "10.1.0.0/16", "fd00::/8"), ("192.0.2.0/25", "192.0.2.128/25")])
allows = allowed.map(lambda nets: tuple(map(ip_network, nets)))
places = st.one_of(
    st.tuples(st.sampled_from(["0.0.0.0", "198.51.100.1"]), st.sampled_from(["10.0.0.2", "10.0.0.3"])),
    st.tuples(st.sampled_from(["::", "2001:db8::1", "::1"]), st.sampled_from(["fd00::2", "fd00::3"])),
).map(lambda pair: tuple(map(ip_address, pair)))
protocols = st.sampled_from(["tcp", "udp"])
rules = st.builds(
    lambda protocol, place, port, target_port, count, allow: Published(
        protocol, place[0], port, place[1], target_port, count, allow
    ),
    protocols,
    places,
    ports,
    ports,
    counts,
    allows,
)
openings = st.builds(
    lambda protocol, place, port, count, allow: Opened(protocol, place[1], port, count, allow),
    protocols,
    places,
    ports,
    counts,
    allows,
)
treatments = st.one_of(
    st.none(),
    st.builds(
        Treatment,
        mode=st.sampled_from(GatewayMode),
        masquerade=st.booleans(),
        source=st.sampled_from([None, ip_address("198.51.100.7")]),
    ),
)
bridges = st.builds(
    BridgeRules,
    name=st.sampled_from(["nd-a", "nd-b"]),
    internal=st.booleans(),
    ipv4=treatments,
    ipv6=treatments.map(lambda treatment: treatment and replace(treatment, source=None)),
    isolated=st.booleans(),
    trusted=st.sampled_from([(), ("eth0",), ("eth0", "eth1")]),
)
rulesets = st.builds(
    lambda some, ports, opened, over_budget: Ruleset(
        frozenset({network.name: network for network in some}.values()),
        frozenset({(port.protocol, port.address, port.port): port for port in ports}.values()),
        frozenset({(port.protocol, port.target, port.target_port): port for port in opened}.values()),
        over_budget=over_budget,
    ),
    st.lists(bridges, max_size=3),
    st.lists(rules, max_size=8),
    st.lists(openings, max_size=4),
    st.frozensets(st.sampled_from(["10.0.0.2", "10.0.0.3", "fd00::2", "fe80::2"]).map(ip_address)),
)


def carry_out(had: Elements, script: str) -> Elements:
    """Apply a script to a dictionary as nftables does to a table; deleting a missing element is refused."""
    held = dict(had)
    for verb, name, content in COMMAND.findall(script):
        for element in content.split(", "):
            key, _, value = element.partition(" : ")
            if verb == "delete":
                del held[name, key]
            else:
                assert held.get((name, key), value) == value, "an element is replaced without being deleted"
                held[name, key] = value
    return held


@given(had=rulesets, wanted=rulesets)
def test_a_change_leads_from_any_ruleset_to_any_other(had: Ruleset, wanted: Ruleset) -> None:
    held = RulesetState(had)
    real = held.effective(RulesetChange.between(had, wanted))
    assert carry_out(elements(had), ruleset.text(ruleset.change(held, real))) == elements(wanted)
    held.apply(real)
    assert held.ruleset() == wanted
    assert held.forwards == wanted.forwards
    back = held.effective(RulesetChange.between(wanted, had))
    assert carry_out(elements(wanted), ruleset.text(ruleset.change(held, back))) == elements(had)


@given(wanted=rulesets)
def test_a_rebuild_holds_everything(wanted: Ruleset) -> None:
    assert carry_out({}, ruleset.rebuild(wanted)) == elements(wanted)


@given(rules=rulesets)
def test_the_script_is_empty_without_changes(rules: Ruleset) -> None:
    held = RulesetState(rules)
    for change in (RulesetChange(), RulesetChange(added=rules), RulesetChange(rules, rules)):
        assert ruleset.text(ruleset.change(held, held.effective(change))) == ""


def test_a_range_with_equal_numbers_is_one_element_and_a_shifted_one_as_many_as_it_has_ports() -> None:
    equal = Published("udp", IPv4Address("0.0.0.0"), 10000, IPv4Address("10.0.0.2"), 10000, 16384)
    shifted = Published("udp", IPv4Address("0.0.0.0"), 10000, IPv4Address("10.0.0.2"), 10001, 16384)

    def ports(rule: Published) -> int:
        return sum(name in ("ports", "ranges") for name, _ in elements(Ruleset(published=frozenset({rule}))))

    assert (ports(equal), ports(shifted)) == (1, 16384)


def test_published_ports_never_target_the_other_family() -> None:
    rule = Published("tcp", ip_address("::"), 80, ip_address("10.0.0.2"), 80)
    with pytest.raises(BadRequest, match="different families"):
        elements(Ruleset(published=frozenset({rule})))


def test_only_networks_with_a_gateway_enable_forwarding() -> None:
    deep, plain = BridgeRules(name="nd-a", internal=True), BridgeRules(name="nd-b", ipv6=Treatment())
    assert Ruleset(frozenset({deep})).forwards == set()
    assert Ruleset(frozenset({deep, plain})).forwards == {4, 6}


@pytest.mark.parametrize("protocol", ["icmp", "tcp }", ""])
def test_other_protocols_are_refused(protocol: str) -> None:
    rule = Published(protocol, IPv4Address("0.0.0.0"), 80, IPv4Address("10.0.0.2"), 80)
    with pytest.raises(BadRequest, match="cannot be published"):
        elements(Ruleset(published=frozenset({rule})))
