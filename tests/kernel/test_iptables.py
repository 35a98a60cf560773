"""The chains in the legacy tables: netd's own, beside chains of others."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.common.errors import KernelRefused
from netd.kernel.firewall.iptables import table_info, tables
from netd.kernel.firewall.iptables.layout import Content
from netd.kernel.namespaces import netns
from tests.kernel import kinds
from tests.kernel.conftest import OUTSIDE, UPLINK, Site, port, set_bridge_filter
from tests.lab import Lab, reach, unreachable

GOLDEN = Path(__file__).parents[1] / "golden/iptables"
THEIRS = """
*raw
-A PREROUTING -p udp -m udp --dport 9 -j DROP
COMMIT
*mangle
:NETSTAT - [0:0]
-A FORWARD -j NETSTAT
COMMIT
*nat
:THEIRS - [0:0]
-A PREROUTING -p tcp -m tcp --dport 2222 -j THEIRS
-A POSTROUTING -o eth9 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -p udp -m udp --dport 99 -j ACCEPT
COMMIT
"""
"""Rules that a host's packet filter might have; one chain's name is similar to netd's."""
PROGRAMS = ("iptables-legacy", "ip6tables-legacy")


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    made = Site(lab, tmp_path / "run", "iptables")
    yield made
    made.close()


def saved(site: Site) -> list[str]:
    """Return the dump of the legacy tables without comments, counters and netd's chains."""
    words = [f"{word}-save" for word in PROGRAMS]
    lines = [line for word in words for line in site.machine.command(word).splitlines()]
    return [line.split(" [")[0] for line in lines if not line.startswith("#") and "NETD-" not in line]


def test_what_others_have_in_the_tables_stays_byte_for_byte(site: Site) -> None:
    set_bridge_filter(site, False)
    for program in PROGRAMS:
        site.machine.command(f"{program}-restore", stdin=THEIRS)
    before = saved(site)
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    web = site.container("web", front, 2)
    site.converge()
    site.publish(port(8080, web, 80), port(8080, web, 80, address="::"))
    assert saved(site) == before
    jumps = [line for line in site.machine.legacy() if "NETD-" in line and " -A NETD-" not in line and ":" not in line]
    assert jumps == [
        f"{family} {table} -A {chain} -j NETD-{chain}"
        for family in (4, 6)
        for table, chains in (
            ("nat", ("PREROUTING", "OUTPUT", "POSTROUTING")),
            ("mangle", ("PREROUTING", "INPUT", "FORWARD", "POSTROUTING")),
            ("raw", ("PREROUTING",) if family == 4 else ()),
        )
        for chain in chains
    ]
    site.do(site.host.reset_firewall(site.ruleset()))
    site.do(site.host.remove_everything())
    assert saved(site) == before


def test_the_hosts_own_filter_still_decides_about_what_we_let_pass(site: Site) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.converge()
    site.publish(port(8080, web, 80))
    site.lab.echo(site.inside("web"), 80)
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    site.machine.command("iptables-legacy", "-A", "FORWARD", "-p", "tcp", "-s", OUTSIDE, "-j", "DROP")
    assert unreachable(site.outside, UPLINK, 8080)


def test_a_filter_that_lets_everything_pass_opens_nothing_of_ours(site: Site) -> None:
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.converge()
    site.publish()
    site.lab.echo(site.inside("web"), 80)
    site.machine.command("iptables-legacy", "-I", "FORWARD", "-j", "ACCEPT")
    site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    assert unreachable(site.outside, str(web.addresses[0].ip), 80)


def test_reading_tables_creates_none(site: Site) -> None:
    assert site.machine.run(lambda: [table_info.existing(family) for family in (4, 6)]) == [[], []]
    assert site.machine.run(lambda: table_info.with_chain_prefix(4, b"NETD-")) == []
    assert site.machine.run(lambda: table_info.existing(4)) == []
    site.network("front", "172.18.0.1/16")
    site.publish()
    assert site.machine.run(lambda: table_info.with_chain_prefix(4, b"NETD-")) == ["nat", "mangle", "raw"]


def test_a_host_whose_networks_are_ipv4_alone_gets_no_tables_of_ipv6(site: Site) -> None:
    site.network("front", "172.18.0.1/16")
    site.publish()
    assert site.machine.run(lambda: table_info.existing(6)) == []


def test_the_xtables_lock_is_awaited_with_a_timeout(site: Site, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(tables, "_LOCK_TIMEOUT", 0.05)
    site.network("front", "172.18.0.1/16")
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(KernelRefused, match=r"another program has held .*lock for .* seconds"):
            site.publish()
    site.publish()
    assert site.ours()


def test_a_refusal_names_the_table(site: Site) -> None:
    with pytest.raises(KernelRefused, match="iptables refused the change of table nowhere for IPv4"):
        netns.run_in_fd(site.machine.fd, lambda: tables.write(4, "nowhere", Content()))


def test_a_refused_change_leaves_what_was_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables nat and raw are written before mangle is refused."""
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.publish(port(8080, web, 80))
    good = site.ours()
    pack = tables.pack
    monkeypatch.setattr(tables, "pack", lambda rule, family: pack(rule, family).replace(b"TCPMSS", b"NOSUCH"))
    with pytest.raises(KernelRefused, match="table mangle"):
        site.network("mall", "172.20.0.1/16")
        site.publish()
    monkeypatch.undo()
    del site.bridges["mall"]
    site.publish()
    assert site.ours() == good


def listing(site: Site, kind: str) -> str:
    """Return the rules that a network of the kind adds to the tables."""
    set_bridge_filter(site, False)
    kinds.publish(site, kind)
    return "".join(f"{line}\n" for line in site.ours())


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_network_is_these_rules(site: Site, kind: str) -> None:
    """REWRITE_GOLDEN=1 replaces the golden listing with the current one; review the difference."""
    found, golden = listing(site, kind), GOLDEN / f"{kind}.rules"
    written = site.ours()
    for program in PROGRAMS if kind != "respect" else ():  # iptables-restore refuses DROP in nat.
        site.machine.command(f"{program}-restore", stdin=site.machine.command(f"{program}-save"))
    assert site.ours() == written, "iptables-restore restores what iptables-save prints"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()
