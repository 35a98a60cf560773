"""Elements that netd packs itself are those that libnftables makes of the same change."""

from __future__ import annotations

import errno
import json
from ipaddress import ip_address, ip_network

import pytest

from netd.common.errors import KernelRefused
from netd.kernel.firewall.nftables import script
from netd.kernel.firewall.nftables.element_messages import set_types
from netd.kernel.firewall.nftables.element_socket import ElementSocket
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.links import recirculation
from netd.portmap.rules import BridgeRules, GatewayMode, Opened, Published, Ruleset, RulesetChange, Treatment
from tests.kernel.conftest import Site
from tests.lab import Lab, Node

MODES = {
    "nat": {},
    "unprotected": {"mode": GatewayMode.UNPROTECTED},
    "routed": {"mode": GatewayMode.ROUTED},
    "isolated-mode": {"mode": GatewayMode.ISOLATED},
    "source": {"source": True},
    "not-hidden": {"masquerade": False},
}
SOURCES = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:51::1")}


def bridges() -> frozenset[BridgeRules]:
    found = []
    for number, fields in enumerate(MODES.values()):
        given = dict(fields)
        source = given.pop("source", False)
        treatments = {
            f"ipv{family}": Treatment(**given, source=SOURCES[family] if source else None) for family in (4, 6)
        }
        found.append(
            BridgeRules(
                name=f"nd-{number:012x}",
                subnets=(ip_network(f"172.{18 + number}.0.0/16"), ip_network(f"fd00:{18 + number}::/64")),
                trusted=("eth0", "wg-1") if number % 2 else (),
                isolated=number == 0,
                **treatments,
            )
        )
    # The last addresses of both families, a subnet of the same range as another, and a name of 15 letters.
    found.append(BridgeRules(name="a-bridge.name_x", subnets=(ip_network("255.255.255.0/24"),), internal=True))
    found.append(BridgeRules(name="b", subnets=(ip_network("172.30.0.0/30"), ip_network("172.30.0.4/30")), ipv6=None))
    return frozenset(found)


def published() -> frozenset[Published]:
    web, web6 = ip_address("172.18.0.2"), ip_address("fd00:18::2")
    every, every6 = ip_address("0.0.0.0"), ip_address("::")
    allow, allow6 = (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32")), (ip_network("2001:db8::/32"),)
    return frozenset(
        {
            *(Published("tcp", every, number, web, 80) for number in range(20000, 21200)),
            Published("udp", every, 9000, web, 9000, 10),
            Published("sctp", ip_address("127.0.0.1"), 7000, web, 9000, 10),
            Published("tcp", ip_address("198.51.100.1"), 100, web, 100, 5, allow),
            Published("tcp", every, 8080, web, 8080, 1, allow),
            Published("tcp", every6, 8443, web6, 443, 1, allow6),
            Published("udp", every6, 1, web6, 1, 65535),
            Published("tcp", ip_address("::1"), 8444, web6, 443),
        }
    )


def opened() -> frozenset[Opened]:
    return frozenset(
        {
            Opened("tcp", ip_address("172.20.0.2"), 80),
            Opened("udp", ip_address("172.20.0.2"), 53, 10),
            Opened("udp", ip_address("fd00:20::2"), 53, 10, (ip_network("2001:db8::/32"), ip_network("::/0"))),
        }
    )


def whole(*, respect: bool) -> Ruleset:
    budget = frozenset({ip_address("172.18.0.9"), ip_address("fd00:18::9")})
    return Ruleset(bridges(), published(), opened(), respect, budget)


class Table:
    """The table of a host, changed by both ways."""

    def __init__(self, node: Node, *, respect: bool = False) -> None:
        self._node = node
        self.respect = respect
        self._nft = node.run(Nft)
        if respect:
            node.run(recirculation.create)
        self.socket = node.run(ElementSocket)
        self.empty()

    def empty(self) -> None:
        self.run(script.rebuild(Ruleset(respect=self.respect)))

    def run(self, text: str) -> str:
        return self._node.run(lambda: self._nft.run(text))

    def change(self, changed: script.TableChange) -> None:
        self._node.run(lambda: self.socket.change(changed))

    def listing(self) -> list[str]:
        listed = json.loads(self._node.command("nft", "-j", "list", "table", "inet", "netd"))["nftables"][1:]
        for entry in (found for kind in listed for found in kind.values()):
            entry.pop("handle", None)
            # The kernel lists the elements of a hashed set in the order of their hashes, which have a random key.
            entry.get("elem", []).sort(key=json.dumps)
        return list(map(json.dumps, listed))

    def close(self) -> None:
        self._nft.close()
        self.socket.close()


@pytest.fixture(params=[False, True], ids=["", "respect"])
def table(request: pytest.FixtureRequest, lab: Lab):
    made = Table(lab.make_host("machine"), respect=request.param)
    yield made
    made.close()


@pytest.fixture
def plain_table(lab: Lab):
    made = Table(lab.make_host("machine"))
    yield made
    made.close()


def added(rules: Ruleset) -> script.TableChange:
    return script.change(RulesetState(Ruleset(respect=rules.respect)), RulesetChange(added=rules))


def removed(rules: Ruleset) -> script.TableChange:
    return script.change(RulesetState(rules), RulesetChange(removed=rules))


def test_packed_elements_are_listed_like_those_of_a_script(table: Table) -> None:
    rules = whole(respect=table.respect)
    bare = table.listing()
    table.run(script.text(added(rules)))
    by_text = table.listing()
    table.empty()
    table.change(added(rules))
    assert table.listing() == by_text != bare
    table.change(removed(rules))
    assert table.listing() == bare


def test_both_ways_change_what_the_other_has_made(table: Table) -> None:
    rules = whole(respect=table.respect)
    bare = table.listing()
    table.run(script.text(added(rules)))
    table.change(removed(rules))
    assert table.listing() == bare
    table.change(added(rules))
    table.run(script.text(removed(rules)))
    assert table.listing() == bare


def test_a_key_gets_another_value_in_one_transaction(plain_table: Table) -> None:
    every, web, pal = ip_address("0.0.0.0"), ip_address("172.18.0.2"), ip_address("172.18.0.3")
    before = Ruleset(published=frozenset({Published("tcp", every, 8080, web, 80)}))
    after = Ruleset(published=frozenset({Published("tcp", every, 8080, pal, 80)}))
    plain_table.change(added(before))
    plain_table.change(script.change(RulesetState(before), RulesetChange(before, after)))
    changed = plain_table.listing()
    plain_table.run(script.rebuild(after))
    assert changed == plain_table.listing()


def test_the_kernels_refusals_change_nothing(plain_table: Table) -> None:
    every, web, pal = ip_address("0.0.0.0"), ip_address("172.18.0.2"), ip_address("172.18.0.3")
    bridge = Ruleset(bridges=frozenset(list(bridges())[:1]))
    first = Ruleset(published=frozenset({Published("tcp", every, 8080, web, 80)}))
    other = Ruleset(published=frozenset({Published("tcp", every, 8080, pal, 80)}))
    plain_table.change(added(first))
    before = plain_table.listing()
    with pytest.raises(KernelRefused) as absent:
        plain_table.change(removed(bridge))
    with pytest.raises(KernelRefused) as present:
        plain_table.change(added(Ruleset(bridge.bridges, other.published)))
    assert absent.value.errno == errno.ENOENT
    assert present.value.errno in (errno.EEXIST, errno.EBUSY)
    assert "nftables refused the change" in present.value.message
    assert plain_table.listing() == before
    plain_table.change(added(bridge))
    plain_table.run("delete table inet netd")
    with pytest.raises(KernelRefused) as gone:
        plain_table.change(removed(bridge))
    assert gone.value.errno == errno.ENOENT


def test_changes_of_networks_and_ports_are_packed_and_others_are_scripts(site: Site, monkeypatch, caplog) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.publish()
    scripts: list[str] = []
    inner = Nft.run

    def run(nft: Nft, text: str) -> str:
        scripts.append(text)
        return inner(nft, text)

    monkeypatch.setattr(Nft, "run", run)
    site.network("back", "172.19.0.1/16", "fd00:19::1/64")
    site.publish(Published("tcp", ip_address("0.0.0.0"), 8080, web.addresses[0].ip, 80))
    site.bridges.pop("back")
    site.publish()
    assert not scripts
    low, high = RulesetState(site.ruleset()).nat_ports
    site.publish(Published("tcp", ip_address("0.0.0.0"), low, web.addresses[0].ip, low, high - low + 1))
    assert ["other_port" in text for text in scripts] == [True]
    assert "rebuilding" not in caplog.text


def test_every_set_of_the_table_is_of_types_that_can_be_packed() -> None:
    known = {"ifname", "nf_proto", "inet_proto", "inet_service", "ipv4_addr", "ipv6_addr"}
    found = set_types()
    assert len(found) > 40
    for name, declared in found.items():
        assert known.issuperset(declared.key), name
        assert declared.value == ("verdict",) or known.issuperset(declared.value), name
