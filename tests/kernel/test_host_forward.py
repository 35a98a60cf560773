"""netd's rule in forward chains of other programs: where they would drop what netd's rules admit, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netd.kernel.firewall.forwarding import host_forward
from netd.portmap.rules import ForwardPolicy
from tests.kernel.conftest import LEAVE, OUTSIDE, OUTSIDE6, UPLINK, UPLINK6, Site, port, set_bridge_filter
from tests.lab import Lab, Node, reach, unreachable

COMMENT = "netd: admitted by the rules of netd"
LEGACY = (
    "for p in iptables-legacy ip6tables-legacy; do $p -A FORWARD -p udp --dport 99 -j ACCEPT; $p -P FORWARD DROP; done"
)
UFW = r"""for p in iptables ip6tables; do $p-nft-restore <<END
*filter
:FORWARD DROP
:ufw-before-forward -
:ufw-user-forward -
:ufw-reject-forward -
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p udp --dport 53 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
COMMIT
END
done"""
"""The chains of ufw at the forward hook, as installed."""
FIREWALLD = """table inet firewalld {
  chain post { counter; }
  chain filter_FWD_public { jump post; meta l4proto { icmp, ipv6-icmp } accept; reject with icmpx admin-prohibited; }
  chain filter_FORWARD_ZONES { iifname "eth9" goto post; goto filter_FWD_public; }
  chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state invalid drop;
    ip6 daddr { ::/96, 2002::/24 } reject with icmpv6 addr-unreachable; jump filter_FORWARD_ZONES;
    reject with icmpx admin-prohibited; }; }"""
"""The chains of firewalld at the forward hook, with the default zone."""
HOSTS = {
    "legacy": LEGACY,
    "iptables-nft": LEGACY.replace("legacy", "nft"),
    "inet": "nft 'table inet admin { chain f { type filter hook forward priority 0; policy drop; }; }'",
    "ip-and-ip6": "nft 'table ip a { chain f { type filter hook forward priority -10; policy drop; }; }';"
    "nft 'table ip6 b { chain f { type filter hook forward priority 200; ct state established accept; reject; }; }'",
    "ufw": UFW,
    "firewalld": f"nft '{FIREWALLD}'",
    "jump": "nft 'table inet admin { chain end { counter; reject with icmpx admin-prohibited; };"
    'chain f { type filter hook forward priority 10; iifname "lo" accept; goto end; }; }\'',
}
"""Host firewalls that forward nothing of netd's."""


def content(node: Node) -> list[str]:
    """Return all rules of the host except netd's own tables and chains, without counters."""
    tables = [table for table in node.command("nft", "list", "tables").splitlines() if not table.endswith(" netd")]
    found = [node.command("nft", "-s", "list", *table.split()) for table in tables]
    found += [node.command(f"{word}-nft-save") for word in ("iptables", "ip6tables")]
    lines = "\n".join([*found, *node.legacy()]).splitlines()
    return [line.split(" [")[0] for line in lines if _is_foreign(line)]


def _is_foreign(line: str) -> bool:
    return bool(line) and "NETD-" not in line and not line.startswith("# ") and "table" not in line


@pytest.fixture
def site(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Site]:
    made = Site(lab, tmp_path / "run", getattr(request, "param", "nftables"), ForwardPolicy())
    yield made
    made.close()


def start(site: Site) -> None:
    """Create two networks with a published port, and servers."""
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    web = site.container("web", front, 2)
    site.container("pal", front, 3)
    site.converge()
    site.publish(port(8080, web, 80), port(8080, web, 80, address="::"))
    for address in ("0.0.0.0", "::"):
        site.lab.echo(site.inside("web"), 80, address=address)
        site.lab.echo(site.outside, 80, address=address)


def works(site: Site) -> bool:
    return (
        reach(site.outside, UPLINK, 8080, timeout=0.5) == OUTSIDE
        and reach(site.outside, UPLINK6, 8080, timeout=0.5) == OUTSIDE6
        and reach(site.inside("web"), OUTSIDE, 80, timeout=0.5) == UPLINK
        and reach(site.inside("web"), OUTSIDE6, 80, timeout=0.5) == UPLINK6
    )


def settle(site: Site, *, present: bool) -> None:
    """Poll as the daemon does until netd's rule is present in the host's rules, or absent; at most a second."""

    async def wait() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(anext(site.host.changes()), 0.52)

    site.do(wait())
    if (COMMENT in "".join(content(site.machine))) != present:
        site.do(wait())
    assert (COMMENT in "".join(content(site.machine))) == present


CASES = [*(("nftables", host) for host in HOSTS), ("iptables", "legacy"), ("iptables", "inet")]
"""Backends of netd and the hosts' firewalls."""
both_backends = pytest.mark.parametrize("site", ["nftables", "iptables"], indirect=True)


@pytest.mark.parametrize(("site", "host"), CASES, indirect=["site"])
def test_a_host_that_forwards_nothing_forwards_what_netd_admits(
    site: Site, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.machine.command("sh", "-c", HOSTS[host])
    before = content(site.machine)
    start(site)
    assert works(site)
    assert "forwarding permitted: chain=" in caplog.text and "outgoing" in caplog.text
    added = [line for line in content(site.machine) if line not in before]
    assert added and [line for line in added if COMMENT not in line] == []
    assert unreachable(site.outside, "172.18.0.2", 80)
    site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    assert unreachable(site.outside, "172.18.0.2", 80)
    assert [line for line in content(site.machine) if COMMENT not in line] == before
    site.do(site.host.remove_everything())
    assert content(site.machine) == before


@pytest.mark.parametrize(("site", "host"), [("nftables", "legacy"), ("iptables", "iptables-nft")], indirect=["site"])
def test_a_reload_of_the_hosts_firewall_is_followed(site: Site, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_forward, "_KEEP", 0.0)
    start(site)
    assert works(site) and COMMENT not in "".join(content(site.machine))
    flush = {"inet": "nft delete table inet admin"}.get(host, HOSTS[host].replace("-A", "-F FORWARD; $p -A"))
    for command in (HOSTS[host], f"{flush}; {HOSTS[host]}"):
        site.machine.command("sh", "-c", command)
        settle(site, present=True)
        assert works(site)
    undo = flush if host == "inet" else flush.replace("DROP", "ACCEPT")
    site.machine.command("sh", "-c", undo)
    settle(site, present=False)


def test_a_rule_is_not_added_where_the_hosts_own_rules_permit_the_traffic(site: Site) -> None:
    site.machine.nft(
        "table inet admin { chain f { type filter hook forward priority 0; policy drop; ct state established accept;"
        ' iifname "nd-*" accept; oifname "nd-*" ct status dnat accept; }; }'
    )
    site.machine.command("iptables-nft", "-P", "FORWARD", "DROP")
    for words in ("-i nd-+ -j ACCEPT", "-o nd-+ -j ACCEPT"):
        site.machine.command("iptables-legacy", "-A", "FORWARD", *words.split())
    site.machine.command("iptables-legacy", "-P", "FORWARD", "DROP")
    before = content(site.machine)
    start(site)
    assert works(site)
    changed = [line for line in content(site.machine) if line not in before]
    assert len(changed) == 2 and all("mark" in line for line in changed)  # In nft and in iptables-nft's listing.


@both_backends
def test_with_br_netfilter_containers_of_a_network_reach_each_other(site: Site) -> None:
    set_bridge_filter(site, on=True)
    site.machine.command("sh", "-c", HOSTS["inet"])
    site.machine.nft("table bridge b { chain f { type filter hook forward priority 0; policy drop; }; }")
    before = content(site.machine)
    start(site)
    assert reach(site.inside("pal"), "172.18.0.2", 80) == "172.18.0.3"
    assert reach(site.inside("pal"), "fd00:18::2", 80) == "fd00:18::3"
    site.do(site.host.remove_everything())
    assert content(site.machine) == before


def test_leave_changes_nothing_and_deletes_what_open_added(site: Site) -> None:
    site.machine.command("sh", "-c", HOSTS["inet"])
    before = content(site.machine)
    start(site)
    assert works(site)
    site.policy = LEAVE
    site.reopen()
    site.publish()
    assert content(site.machine) == before
    assert unreachable(site.outside, UPLINK, 8080) and unreachable(site.inside("web"), OUTSIDE, 80)


def test_the_operators_rules_can_match_the_mark_of_admitted_packets(site: Site) -> None:
    site.policy = ForwardPolicy(insert=False, fwmark=0x100)
    site.reopen()
    site.machine.nft("table inet admin { chain f { type filter hook forward priority 0; policy drop; }; }")
    start(site)
    assert not works(site)
    site.machine.nft("insert rule inet admin f meta mark and 0x100 == 0x100 accept")
    assert works(site)


@both_backends
def test_packets_leave_the_host_without_the_mark_of_netd(site: Site) -> None:
    start(site)
    site.machine.nft("table inet late { chain p { type filter hook postrouting priority 2147483647; }; }")
    site.machine.nft("add rule inet late p meta mark and 0x10000000 == 0x10000000 counter")
    assert works(site)
    assert "packets 0 " in site.machine.command("nft", "list", "table", "inet", "late")
