"""The firewall table: owned by netd alone, equal to the last published state, of constant rule count."""

from __future__ import annotations

import json
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.common.errors import BadRequest, KernelRefused
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.namespaces import netns
from netd.portmap.rules import BridgeRules, Ruleset
from tests.kernel import kinds
from tests.kernel.conftest import OUTSIDE, UPLINK, Site, port
from tests.lab import Lab, Node, reach

GOLDEN = Path(__file__).parents[1] / "golden/nftables"
FOREIGN = """
add table ip admin
add chain ip admin forward { type filter hook forward priority 0; policy drop; }
add rule ip admin forward counter accept
"""
ADDITIONS = {
    "nftables": "nft insert rule inet netd forward accept; nft add chain inet netd mine; nft flush map inet netd ports",
    "iptables": "iptables-legacy -t nat -I NETD-PUBLISHED -j ACCEPT; iptables-legacy -t mangle -N NETD-MINE;"
    "iptables-legacy -t nat -F NETD-PUBLISHED-tcp; iptables-legacy -t nat -A PREROUTING -j NETD-PREROUTING",
}
DAMAGES = [
    pytest.param("nft flush ruleset", id="nftables-ruleset"),
    pytest.param("nft delete table inet netd", id="nftables-table"),
    pytest.param("nft flush map inet netd ports", id="nftables-map"),
    pytest.param("iptables-legacy -t nat -F; iptables-legacy -t mangle -F", id="iptables-all"),
    pytest.param("iptables-legacy -t mangle -F; iptables-legacy -t mangle -X", id="iptables-filters"),
    pytest.param("iptables-legacy -t nat -F PREROUTING", id="iptables-way"),
    pytest.param("iptables-legacy -t nat -D NETD-PUBLISHED-tcp 1", id="iptables-rule"),
]


@pytest.fixture
def damaging(damage: str, lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """A site with the firewall backend that the test damages."""
    made = Site(lab, tmp_path / "run", "nftables" if damage.startswith("nft") else "iptables")
    yield made
    made.close()


def rules(node: Node) -> int:
    return sum("rule" in entry for entry in json.loads(node.command("nft", "-j", "list", "ruleset"))["nftables"])


def elements(node: Node, name: str) -> list:
    found = json.loads(node.command("nft", "-j", "list", "map", "inet", "netd", name))["nftables"]
    return found[1]["map"].get("elem", [])


def forwarding(node: Node) -> str:
    return node.run(lambda: Path("/proc/sys/net/ipv4/ip_forward").read_text().strip())


def test_rules_do_not_grow_with_what_is_published(site: Site) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.publish()
    before = rules(site.machine)
    site.publish(port(20000, web, 20000, count=16384, protocol="udp"), *(port(n, web, 80) for n in range(8000, 8200)))
    assert rules(site.machine) == before
    assert len(elements(site.machine, "ranges")) == 1
    assert len(elements(site.machine, "ports")) == 200


def test_publishing_leaves_exactly_the_difference(backend: str, site: Site) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    pal = site.container("pal", site.network("front", "172.18.0.1/16"), 3)
    site.publish(port(8080, web, 80), port(9000, web, 9000, count=10), port(7000, web, 7000, count=3, address=UPLINK))
    # The same keys have other targets; a range is split.
    site.published = {port(8080, pal, 80), port(9000, web, 9000, count=4), port(9004, pal, 9004, count=6)}
    site.publish()
    changed = site.ours()
    site.do(site.host.reset_firewall(site.ruleset()))
    assert changed == site.ours()
    assert not any("7000" in line for line in changed)


def test_a_restarted_daemon_replaces_what_it_does_not_remember(backend: str, site: Site) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.publish(port(8080, web, 80))
    site.reopen()
    site.published = {port(8081, web, 80)}
    site.publish()
    assert any("8081" in line for line in site.ours()) and not any("8080" in line for line in site.ours())


@pytest.mark.parametrize("damage", DAMAGES)
def test_publishing_over_what_others_destroyed_makes_all_of_it_anew(damaging: Site, damage: str) -> None:
    site = damaging
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.converge()
    site.publish(port(8080, web, 80))
    site.lab.echo(site.inside("web"), 80)
    site.lab.echo(site.outside, 80)
    whole = site.ours()
    for command in damage.split(";"):
        site.machine.command(*command.split())
    assert site.ours() != whole
    site.published = {port(8081, web, 80)}
    site.publish(port(8082, web, 80))
    assert reach(site.outside, UPLINK, 8081) and reach(site.outside, UPLINK, 8082)
    assert len(site.ours()) >= len(whole)
    assert reach(site.inside("web"), OUTSIDE, 80) == UPLINK


def test_a_reset_makes_the_table_anew_whatever_is_in_it(site: Site, backend: str) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.publish(port(8080, web, 80))
    good = site.ours()
    for command in ADDITIONS[backend].split(";"):
        site.machine.command(*command.split())
    site.do(site.host.reset_firewall(site.ruleset()))
    assert site.ours() == good


def others(node: Node) -> list[str]:
    """Return the content of the legacy tables and of nftables."""
    legacy = [
        node.command(program, "-t", table, "-S")
        for program in ("iptables-legacy", "ip6tables-legacy")
        for table in ("raw", "mangle", "nat", "filter")
    ]
    return [*legacy, node.command("nft", "-a", "list", "ruleset")]


@pytest.mark.usefixtures("backend")
def test_rules_of_others_are_never_touched(site: Site) -> None:
    """The listings are identical after applying every kind of network, with ``host_firewall`` respect and ignore."""
    site.machine.nft(FOREIGN)
    for program, net in (("iptables-legacy", "192.0.2.0/24"), ("ip6tables-legacy", "2001:db8:9::/48")):
        for words in (f"-A INPUT -s {net} -j DROP", f"-t nat -A PREROUTING -s {net} -j ACCEPT", "-P FORWARD DROP"):
            site.machine.command(program, *words.split())
    before, links = others(site.machine), site.machine.links()
    for kind in kinds.KINDS:
        kinds.publish(site, kind)
        site.do(site.host.reset_firewall(site.ruleset()))
        site.published.clear()
        site.opened.clear()
    site.do(site.host.remove_everything())
    assert others(site.machine) == before
    assert site.machine.links() == links


def test_forwarding_is_switched_on_where_needed_and_put_back(backend: str, site: Site) -> None:
    site.network("deep", "172.21.0.1/16", internal=True)
    site.publish()
    assert forwarding(site.machine) == "0"
    site.network("front", "172.18.0.1/16")
    site.publish()
    assert forwarding(site.machine) == "1"
    site.reopen()  # The former value is kept across a crash.
    site.do(site.host.remove_everything())
    assert forwarding(site.machine) == "0"


def test_forwarding_that_was_on_stays_on(backend: str, site: Site) -> None:
    site.machine.command("sysctl", "-qw", "net.ipv4.ip_forward=1")
    site.network("front", "172.18.0.1/16")
    site.publish()
    site.do(site.host.remove_everything())
    assert forwarding(site.machine) == "1"


@pytest.mark.parametrize("name", ['nd"; flush ruleset; "', "nd*", "", "nd-name-too-long-", "nd x", "nd\n"])
def test_a_bridge_name_that_is_no_name_never_reaches_a_script(backend: str, site: Site, name: str) -> None:
    with pytest.raises(BadRequest):
        site.do(site.host.update_firewall(Ruleset(frozenset({BridgeRules(name=name)}))))
    site.publish()


def test_overlapping_ranges_are_refused_and_change_nothing(site: Site) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.publish(port(9000, web, 9000, count=10))
    good = site.ruleset()
    with pytest.raises(KernelRefused, match="nftables refused the change"):
        site.publish(port(9005, web, 9005, count=10))
    site.do(site.host.update_firewall(good))
    assert len(elements(site.machine, "ranges")) == 1


def test_without_a_descriptor_left_nftables_is_refused_and_the_process_lives(site: Site) -> None:
    """libnftables itself would end the process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd"))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 8, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        with pytest.raises(KernelRefused, match="nftables cannot be reached: Too many open files"):
            Nft()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)


def test_a_refusal_says_what_nftables_said(site: Site) -> None:
    def body() -> None:
        with Nft() as nft:
            nft.run("add rule inet nowhere forward accept")

    with pytest.raises(KernelRefused, match=r"No such file or directory"):
        netns.run_in_fd(site.machine.fd, body)


# Golden listings


def listing(node: Node) -> tuple[str, str]:
    """Return netd's tables without elements, and the sorted elements of each non-empty set and map."""
    names = sorted(name for name in node.command("nft", "list", "tables").splitlines() if name.endswith(" netd"))
    bare, filled = [], []
    for block in re.split(r"(?<=\n)(?=table )", "".join(node.command("nft", "list", *name.split()) for name in names)):
        for part in re.split(r"(?<=\t}\n)", block):
            head, found, elements = part.partition("\t\telements = {")
            bare.append(part if not found else f"{head}\t}}\n")
            if found:
                inside = sorted(element.strip() for element in elements.split("}")[0].split(","))
                filled.append("\n\t".join([re.findall(r"(?:set|map) \w+", head)[-1], *inside]) + "\n")
    return "".join(bare), "\n".join(sorted(filled))


def compare(found: str, name: str) -> None:
    golden = GOLDEN / f"{name}.nft"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_network_is_these_elements(site: Site, kind: str) -> None:
    """REWRITE_GOLDEN=1 replaces the golden listing with the current one; review the difference."""
    site.machine.run(without_bridge_filter)
    kinds.publish(site, kind)
    compare(listing(site.machine)[1], kind)


@pytest.mark.parametrize("respect", [False, True])
def test_the_tables_are_these_rules(site: Site, respect: bool) -> None:
    site.machine.run(without_bridge_filter)
    site.respect = respect
    site.publish()
    compare(listing(site.machine)[0], "table-respecting-the-host" if respect else "table")


def without_bridge_filter() -> None:
    for sysctl in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        sysctl.write_text("0")
