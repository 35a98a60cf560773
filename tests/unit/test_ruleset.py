"""Scripts change exactly the elements that differ, whatever was there."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from netd.kernel.nftables import script as ruleset
from netd.portmap.rules import BridgeRules, Published, Ruleset, Treatment

COMMAND = re.compile(r"(add|delete) element inet netd (\w+) \{ (.*) \}")
Elements = dict[tuple[str, str], str]

addresses = st.sampled_from([IPv4Address("0.0.0.0"), IPv4Address("198.51.100.1")])
targets = st.sampled_from([IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")])
rules = st.builds(
    Published,
    protocol=st.sampled_from(["tcp", "udp"]),
    address=addresses,
    port=st.integers(1, 40).map(lambda n: n * 100),
    target=targets,
    target_port=st.integers(1, 40).map(lambda n: n * 100),
    count=st.sampled_from([1, 1, 2, 50]),
)
bridges = st.builds(
    BridgeRules,
    name=st.sampled_from(["nd-a", "nd-b"]),
    internal=st.booleans(),
    ipv4=st.builds(Treatment, masquerade=st.booleans()),
    isolated=st.booleans(),
)
rulesets = st.builds(
    lambda some, ports: Ruleset(
        frozenset({one.name: one for one in some}.values()),
        frozenset({(one.protocol, one.address, one.port): one for one in ports}.values()),
    ),
    st.lists(bridges, max_size=3),
    st.lists(rules, max_size=8),
)


def carry_out(had: Elements, script: str) -> Elements:
    """Do to a dictionary what nftables would do to the table: it refuses to delete what is not there."""
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
    assert carry_out(ruleset.elements(had), ruleset.change(had, wanted)) == ruleset.elements(wanted)


@given(wanted=rulesets)
def test_a_rebuild_holds_everything(wanted: Ruleset) -> None:
    assert carry_out({}, ruleset.rebuild(wanted)) == ruleset.elements(wanted)


@given(rules=rulesets)
def test_nothing_is_said_when_nothing_changes(rules: Ruleset) -> None:
    assert ruleset.change(rules, rules) == ""


def test_a_range_with_equal_numbers_is_one_element_and_a_shifted_one_as_many_as_it_has_ports() -> None:
    equal = Published("udp", IPv4Address("0.0.0.0"), 10000, IPv4Address("10.0.0.2"), 10000, 16384)
    shifted = Published("udp", IPv4Address("0.0.0.0"), 10000, IPv4Address("10.0.0.2"), 10001, 16384)

    def ports(rule: Published) -> int:
        return sum(name != "themselves" for name, _ in ruleset.elements(Ruleset(published=frozenset({rule}))))

    assert (ports(equal), ports(shifted)) == (1, 16384)


@pytest.mark.parametrize("protocol", ["icmp", "tcp }", ""])
def test_other_protocols_are_refused(protocol: str) -> None:
    rule = Published(protocol, IPv4Address("0.0.0.0"), 80, IPv4Address("10.0.0.2"), 80)
    with pytest.raises(BadRequest, match="cannot be published"):
        ruleset.elements(Ruleset(published=frozenset({rule})))
