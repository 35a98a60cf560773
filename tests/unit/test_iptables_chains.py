"""Chains of the legacy tables: each packet matches its rule within a bounded number of comparisons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from netd.kernel.firewall.iptables.entry import ConnectionState, Dnat, Rule, pack
from netd.kernel.firewall.iptables.layout import layout
from netd.kernel.firewall.iptables.trees import MAX_NAME, Chains, by_destination, by_link, by_port, by_source
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset, Treatment

ENOUGH = 48
"""The maximum number of comparisons for a packet: three levels of sixteen."""
ROUTED = Treatment(mode=GatewayMode.ROUTED)
ELSE = Rule(target="ELSE")


@dataclass(frozen=True)
class Packet:
    incoming: str = ""
    outgoing: str = ""
    source: str = "0.0.0.0"
    destination: str = "0.0.0.0"
    port: int = 0


class Traversal:
    """Traverses chains as the kernel does; a target that is no chain is a verdict."""

    def __init__(self, chains: Chains, packet: Packet) -> None:
        self.chains, self.packet, self.compared = chains, packet, 0

    def verdict(self, chain: str) -> object:
        """Return the packet's verdict; None if no rule matches."""
        for rule in self.chains[chain]:
            self.compared += 1
            if self._fits(rule):
                if rule.target not in self.chains:
                    return rule.target
                found = self.verdict(rule.target)
                if found is not None or rule.goto:
                    return found
        return None

    def _fits(self, rule: Rule) -> bool:
        packet = self.packet
        return (
            _is_link(rule.incoming, packet.incoming)
            and _is_link(rule.outgoing, packet.outgoing)
            and (rule.source is None or ip_address(packet.source) in rule.source)
            and (rule.destination is None or ip_address(packet.destination) in rule.destination)
            and (rule.ports is None or rule.ports[0] <= packet.port <= rule.ports[1])
        )


def _is_link(wanted: str, name: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("+") else wanted in ("", name)


def spans() -> st.SearchStrategy[list[tuple[int, int]]]:
    span = st.tuples(st.integers(1, 65535), st.integers(0, 40))
    return st.lists(span.map(lambda pair: (pair[0], min(pair[0] + pair[1], 65535))), max_size=80)


@given(spans(), st.data(), st.sampled_from([None, ELSE]))
def test_a_port_finds_a_rule_that_has_it_if_there_is_one(found, data, otherwise) -> None:
    rules = [Rule(target=f"to {first}-{last}", protocol="tcp", ports=(first, last)) for first, last in found]
    edges = [edge for span in found for edge in (span[0] - 1, *span, span[1] + 1)]
    port = data.draw(st.sampled_from(edges) if edges else st.integers(1, 65535))
    walk = Traversal(by_port("top", rules, otherwise), Packet(port=port))
    fitting = {rule.target for rule in rules if rule.ports[0] <= port <= rule.ports[1]}
    assert walk.verdict("top") in (fitting or {otherwise and "ELSE"})


def test_the_first_of_two_rules_for_a_port_applies() -> None:
    rules = [Rule(target=name, protocol="tcp", ports=(80, 80)) for name in ("first", "second")]
    others = [Rule(target="other", protocol="tcp", ports=(n, n)) for n in range(100, 200)]
    assert Traversal(by_port("top", [*rules, *others]), Packet(port=80)).verdict("top") == "first"


@given(st.sets(st.from_regex(r"(nd-[0-9a-f]{12}|br[0-9]{0,3}|netd0)", fullmatch=True), max_size=60), st.data())
def test_a_link_finds_its_rule_and_no_others(names, data) -> None:
    rules = [Rule(target=f"to {name}", incoming=name) for name in names]
    name = data.draw(st.sampled_from([*sorted(names), "eth0", "nd-", "nd-0", "br"]))
    expected = f"to {name}" if name in names else None
    chains = by_link("top", rules, out=False)
    assert Traversal(chains, Packet(incoming=name)).verdict("top") == expected
    turned = [replace(rule, incoming="", outgoing=rule.incoming) for rule in rules]
    assert Traversal(by_link("top", turned, out=True), Packet(outgoing=name)).verdict("top") == expected


@given(st.sets(st.integers(0, 0xFFFF), max_size=60), st.integers(0, 0xFFFF), st.sampled_from([4, 6]))
def test_an_address_finds_its_subnets_rule_and_no_others(numbers, asked, family) -> None:
    def subnet(number: int) -> IPv4Network | IPv6Network:
        return IPv4Network((number << 16, 24)) if family == 4 else IPv6Network((number << 80, 64))

    address = str(subnet(asked)[1])
    expected = f"to {asked}" if asked in numbers else "ELSE"
    sources = [Rule(target=f"to {number}", source=subnet(number)) for number in numbers]
    assert Traversal(by_source("top", sources, ELSE), Packet(source=address)).verdict("top") == expected
    targets = [replace(rule, source=None, destination=rule.source) for rule in sources]
    walk = Traversal(by_destination("top", targets, ELSE), Packet(destination=address))
    assert walk.verdict("top") == expected


@pytest.mark.parametrize("many", [1, 300, 500, 4000])
def test_the_number_of_comparisons_per_packet_is_bounded(many: int) -> None:
    ports = [Rule(target="there", protocol="tcp", ports=(n, n)) for n in range(10000, 10000 + 2 * many, 2)]
    links = [Rule(target="there", incoming=f"nd-{n * 2654435761 % 2**48:012x}") for n in range(many)]
    subnets = [Rule(target="there", source=ip_network((0x0A000000 + (n << 8), 24))) for n in range(many)]
    for chains, packet in (
        (by_port("top", ports), Packet(port=10000 + 2 * many - 2)),
        (by_port("top", ports), Packet(port=9)),
        (by_link("top", links, out=False), Packet(incoming=links[-1].incoming)),
        (by_link("top", links, out=False), Packet(incoming="eth0")),
        (by_source("top", subnets), Packet(source=str(ip_address(0x0A000001 + (many - 1 << 8))))),
        (by_source("top", subnets), Packet(source="198.51.100.1")),
    ):
        walk = Traversal(chains, packet)
        walk.verdict("top")
        assert walk.compared <= ENOUGH, (many, packet)


@settings(max_examples=10)
@given(spans(), st.integers(9, 60))
def test_names_of_chains_are_short_enough_for_the_kernel(found, bridges) -> None:
    place, target = ip_address("0.0.0.0"), ip_address("172.18.0.2")
    published = frozenset(Published("sctp", place, first, target, 80, last - first + 1) for first, last in found)
    opened = frozenset(Opened("sctp", target, first, last - first + 1) for first, last in found)
    opened |= {Opened("tcp", ip_address(0x0A000000 + n * 65537), n) for n in range(1, 100)}
    named = {BridgeRules(name="fifteen-letters", subnets=(ip_network("172.18.0.0/16"),))}
    for number in range(bridges):
        subnet = ip_network((0x0A000000 + (number << 8), 24))
        named.add(BridgeRules(name=f"my-bridge-{number}", subnets=(subnet,), ipv4=ROUTED))
    for content in layout(Ruleset(frozenset(named), published, opened), 4).values():
        assert all(len(name) <= MAX_NAME for name in content.chains)


@pytest.mark.parametrize(("family", "header"), [(4, 112), (6, 168)])
def test_a_rule_is_as_long_as_it_says(family: int, header: int) -> None:
    target = ip_address("172.18.0.2" if family == 4 else "fd00::2")
    rule = Rule(target=Dnat(target, 80), protocol="tcp", ports=(8080, 8080), state=ConnectionState.NEW, to_host=True)
    packed = pack(rule, family)
    place = header - 24 if family == 4 else header - 28
    start, end = (int.from_bytes(packed[place + at : place + at + 2], "little") for at in (0, 2))
    assert (start, end) == (header + 48 + 40 + 200, len(packed)) and len(packed) % 8 == 0


@pytest.mark.parametrize(
    "wrong",
    [
        Published("icmp", ip_address("0.0.0.0"), 80, ip_address("172.18.0.2"), 80),
        Published("tcp", ip_address("::"), 80, ip_address("172.18.0.2"), 80),
    ],
)
def test_what_cannot_be_published_is_refused(wrong: Published) -> None:
    with pytest.raises(BadRequest):
        layout(Ruleset(frozenset({BridgeRules(name="nd-x")}), frozenset({wrong})), 4)
