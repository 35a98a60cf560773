"""Facts become links, addresses and routes, are observed as the same facts, and are removed completely."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from netd.common.errors import KernelRefused
from netd.facts import Bridge, DefaultRoute, Namespace, Pair, Step, Verb
from tests.kernel.conftest import Site, make_pair
from tests.lab import Node, mounts, reach, unreachable

DUAL = ("172.18.0.1/16", "fd00:18::1/64")


def two_networks(site: Site) -> None:
    front = site.network("front", *DUAL)
    back = site.network("back", "172.19.0.1/16", internal=True)
    only = site.network("only", "fd00:19::1/64")
    site.container("web", front, 2)
    site.container("db", back, 2, route=False)
    site.container("six", only, 2)
    site.want(make_pair("web", back, 3, inside="eth1"))


def test_what_was_applied_is_observed_and_needs_no_further_step(site: Site) -> None:
    two_networks(site)
    site.converge()
    assert site.have() == site.wanted


def test_every_step_can_be_repeated(site: Site) -> None:
    two_networks(site)
    site.converge()
    again = sorted(site.wanted.values(), key=lambda fact: fact.rank)
    site.do(site.host.apply([Step(Verb.ADD, fact) for fact in again]))
    assert site.have() == site.wanted
    drops = [Step(Verb.DEL, fact) for fact in reversed(again)]
    site.do(site.host.apply([*drops, *drops]))
    assert site.have() == {}


def test_a_restarted_daemon_finds_everything_by_looking(site: Site) -> None:
    two_networks(site)
    site.want(Namespace(sandbox="f" * 64, sysctls=(("net.core.somaxconn", "77"),)))
    site.converge()
    site.reopen()
    assert site.have() == site.wanted


def test_nothing_is_left_behind(site: Site) -> None:
    before = site.machine.snapshot()
    two_networks(site)
    site.converge()
    site.publish()
    assert site.machine.snapshot() != before
    site.do(site.host.remove_everything())
    assert site.machine.snapshot() == before
    assert mounts(site.run_dir) == []
    site.reopen()
    assert list(site.run_dir.rglob("*/*")) == []


@pytest.mark.parametrize("round_trips", [5])
def test_names_can_be_used_again_as_soon_as_a_pair_is_removed(site: Site, round_trips: int) -> None:
    front = site.network("front", "172.18.0.1/16")
    web = site.container("web", front, 2)
    site.converge()
    inside = site.inside("web")
    for _ in range(round_trips):
        site.do(site.host.apply([Step(Verb.DEL, web)]))
        assert "eth0" not in inside.links()
        assert "172.18.0.2/16" not in inside.addresses()
        site.do(site.host.apply([Step(Verb.ADD, web)]))
        assert site.machine.json("link show dev web.front")[0]["ifname"] == web.host
    site.converge()


def test_a_removed_bridge_does_not_answer_and_its_subnet_can_be_used_at_once(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16")
    site.converge()
    site.do(site.host.apply([Step(Verb.DEL, front)]))
    assert "172.18.0.1/16" not in site.machine.addresses()
    site.do(site.host.apply([Step(Verb.ADD, replace(front, name="nd-other"))]))
    assert "172.18.0.1/16" in site.machine.addresses()


def test_changed_facts_are_changed_in_the_kernel(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16")
    back = site.network("back", "172.19.0.1/16")
    pair = site.container("web", front, 2)
    site.converge()
    site.want(replace(pair, alias="shop.front", mtu=1400, isolated=True))
    site.converge()
    names = site.machine.json(f"link show {pair.host}")[0]["altnames"]
    assert names == ["shop.front"]
    site.want(
        replace(make_pair("web", back, 9), host=pair.host), DefaultRoute(sandbox="web", gateway=back.addresses[0].ip)
    )
    site.converge()
    site.want(replace(front, addresses=(IPv4Interface("172.30.0.1/24"),), mtu=1300, localnet=False))
    site.converge()
    assert "172.18.0.1/16" not in site.machine.addresses()


@pytest.mark.parametrize(
    "damage",
    [
        "link set {pair} down",
        "link del {pair}",
        "link set {pair} nomaster",
        "link set {pair} mtu 1000",
        "link del nd-front",
        "link set nd-front down",
        "addr flush dev nd-front",
        "addr del fd00:18::1/64 dev nd-front",
    ],
)
def test_damage_is_observed_and_repaired(site: Site, damage: str) -> None:
    pair = site.container("web", site.network("front", *DUAL), 2)
    site.converge()
    site.publish()
    site.machine.ip(damage.format(pair=pair.host))
    assert site.have() != site.wanted
    site.converge()
    site.lab.echo(site.inside("web"), 80)
    assert reach(site.machine, "172.18.0.2", 80) == "172.18.0.1"


@pytest.mark.parametrize(
    "damage",
    [
        "link set eth0 down",
        "link set eth0 address 02:42:00:00:00:99",
        "link set eth0 mtu 1000",
        "link del eth0",
        "addr flush dev eth0",
        "route del default",
        "-6 route del default",
        "addr del fd00:18::2/64 dev eth0",
    ],
)
def test_damage_inside_a_sandbox_is_repaired(site: Site, damage: str) -> None:
    site.container("web", site.network("front", *DUAL), 2)
    site.converge()
    site.inside("web").ip(damage)
    assert site.have() != site.wanted
    site.converge()


def test_a_vanished_namespace_is_made_again(site: Site) -> None:
    site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.converge()
    path = site.host.namespace_path("web")
    site.machine.command("umount", str(path))
    site.converge()
    assert unreachable(site.inside("web"), "172.18.0.1", 1)


def test_a_pair_needs_its_bridge_and_its_sandbox(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16")
    pair = site.container("web", front, 2)
    with pytest.raises(KernelRefused, match="sandbox web has no network namespace"):
        site.do(site.host.apply([Step(Verb.ADD, pair)]))
    with pytest.raises(KernelRefused, match="bridge nd-front does not exist"):
        site.do(site.host.apply([Step(Verb.ADD, Namespace(sandbox="web")), Step(Verb.ADD, pair)]))
    assert site.have() == {("namespace", "web"): Namespace(sandbox="web")}


def test_a_taken_interface_inside_is_refused_and_leaves_nothing(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16")
    site.container("web", front, 2)
    site.converge()
    second = replace(make_pair("web", front, 9), host="ndpsecond")
    with pytest.raises(KernelRefused, match="another interface eth0"):
        site.do(site.host.apply([Step(Verb.ADD, second)]))
    assert site.have() == site.wanted


def test_a_foreign_link_of_the_same_name_is_refused_and_untouched(site: Site) -> None:
    site.machine.ip("link add nd-front type bridge")
    with pytest.raises(KernelRefused, match="nd-front exists already and is not netd's"):
        site.do(site.host.apply([Step(Verb.ADD, site.network("front", "172.18.0.1/16"))]))
    assert site.machine.json("link show nd-front")[0]["operstate"] == "DOWN"
    site.machine.ip("link del nd-front")


def test_a_foreign_bridge_is_used_and_never_deleted(site: Site) -> None:
    site.machine.ip("link add br0 type bridge")
    site.machine.ip("addr add 172.18.0.1/16 dev br0")
    before = site.machine.addresses()
    adopted = Bridge(name="br0", addresses=(IPv4Interface("172.18.0.1/16"),), mtu=1500, localnet=True, owned=False)
    site.want(adopted)
    site.container("web", adopted, 2)
    site.converge()
    site.do(site.host.remove_everything())
    assert "br0" in site.machine.links()
    assert site.machine.addresses() == before
    assert site.machine.command("sysctl", "-n", "net.ipv4.conf.br0.route_localnet").strip() == "0"


def test_an_address_added_to_a_foreign_bridge_is_removed(site: Site) -> None:
    site.machine.ip("link add br0 type bridge")
    site.machine.ip("addr add 172.30.0.1/16 dev br0")
    before = site.machine.addresses()
    site.want(Bridge(name="br0", addresses=(IPv4Interface("172.18.0.1/16"),), mtu=1500, localnet=True, owned=False))
    site.converge()
    assert site.machine.addresses() == before | {"172.18.0.1/16"}
    site.reopen()
    site.unwant(*site.wanted.values())
    adopted = Bridge(name="br0", addresses=(), mtu=1500, localnet=True, owned=False)
    site.do(site.host.apply([Step(Verb.DEL, adopted)]))
    assert site.machine.addresses() == before


def test_a_link_that_is_no_bridge_is_not_used_as_one(site: Site) -> None:
    adopted = Bridge(name="eth0", addresses=(), mtu=1500, localnet=True, owned=False)
    with pytest.raises(KernelRefused, match="eth0 is not a bridge"):
        site.do(site.host.apply([Step(Verb.ADD, adopted)]))


def test_sysctls_of_an_interface_are_set_and_remembered(site: Site) -> None:
    front = site.network("front", *DUAL)
    settings = (("net.ipv4.conf.IFNAME.forwarding", "1"), ("net.ipv6.conf.ifname.hop_limit", "9"))
    pair = replace(site.container("web", front, 2), inside="lan.7", sysctls=settings)
    site.want(pair)
    site.converge()
    web = site.inside("web")
    assert web.sysctl("net/ipv4/conf/lan.7/forwarding") == "1"
    assert web.sysctl("net/ipv6/conf/lan.7/hop_limit") == "9"
    assert web.sysctl("net/ipv4/ip_forward") == "0"
    site.reopen()
    assert site.have() == site.wanted
    site.unwant(pair, *(fact for fact in site.wanted.values() if isinstance(fact, DefaultRoute)))
    site.converge()
    assert list((site.run_dir / "ports").iterdir()) == []


def test_a_sysctl_that_the_interface_does_not_have_is_named_and_leaves_nothing(site: Site) -> None:
    front = site.network("front", *DUAL)
    pair = replace(site.container("web", front, 2), sysctls=(("net.ipv4.conf.IFNAME.zork", "1"),))
    with pytest.raises(KernelRefused, match=r"net\.ipv4\.conf\.IFNAME\.zork cannot be set to '1'"):
        site.do(
            site.host.apply([Step(Verb.ADD, front), Step(Verb.ADD, Namespace(sandbox="web")), Step(Verb.ADD, pair)])
        )
    assert not any(isinstance(fact, Pair) for fact in site.have().values())
    assert "eth0" not in site.inside("web").links()


def test_a_guard_belongs_to_its_pair(site: Site) -> None:
    front = site.network("front", *DUAL)
    pair = site.container("web", front, 2)
    site.converge()
    for guarded in (False, True, False):
        site.want(replace(pair, antispoof=guarded))
        site.converge()
        assert ("clsact" in site.machine.command("tc", "qdisc", "show", "dev", pair.host)) is guarded


def test_a_replaced_guard_is_restored(site: Site) -> None:
    pair = site.container("web", site.network("front", *DUAL), 2)
    site.converge()
    site.machine.command(
        *f"tc filter replace dev {pair.host} ingress pref 1 handle 1 bpf da bytecode".split(), "1,6 0 0 0"
    )
    assert site.have() != site.wanted
    site.converge()


def test_sysctls_are_set_in_the_sandbox_only(site: Site) -> None:
    site.want(Namespace(sandbox="web", sysctls=(("net.ipv4.ip_unprivileged_port_start", "0"),)))
    site.converge()
    ask = ("sysctl", "-n", "net.ipv4.ip_unprivileged_port_start")
    assert site.inside("web").command(*ask).strip() == "0"
    assert site.machine.command(*ask).strip() == "1024"


@pytest.mark.parametrize(
    "name", ["kernel.hostname", "net.no.such.thing", "net/../kernel/hostname", "net.ipv4.ip_forward\n"]
)
def test_a_sysctl_that_cannot_be_is_refused_by_name(site: Site, name: str) -> None:
    with pytest.raises(KernelRefused, match="sysctl"):
        site.do(site.host.apply([Step(Verb.ADD, Namespace(sandbox="web", sysctls=((name, "1"),)))]))
    assert site.have() == {}


def test_what_a_killed_daemon_left_half_done_is_cleared_at_the_next_start(site: Site) -> None:
    site.do(site.host.apply([Step(Verb.ADD, site.network("front", "172.18.0.1/16"))]))
    (site.run_dir / "netns" / "abcdefabcdef").touch()
    (site.run_dir / "sandboxes" / "abcdefabcdef0123").touch()
    site.machine.ip("link add ndx99 type veth peer name ndx98")
    for link in ("ndx99", "ndx98"):
        site.machine.ip(f"link set {link} group {0x6E64786E}")
    site.reopen()
    assert {"ndx98", "ndx99"} & site.machine.links() == set()
    assert mounts(site.run_dir) == [] and list((site.run_dir / "netns").iterdir()) == []
    assert list((site.run_dir / "sandboxes").iterdir()) == []


def test_ipv6_is_off_but_for_the_loopback(site: Site) -> None:
    """Also on the bridge and its ports, so that the host and containers exchange no IPv6."""

    def speakers(node: Node) -> set[str]:
        return {link["ifname"] for link in node.json("-6 addr") if link["addr_info"]}

    site.container("web", site.network("front", "172.18.0.1/16"), 2)
    site.converge()
    assert speakers(site.inside("web")) == {"lo"}
    assert speakers(site.machine) <= {"lo", "eth0"}


def test_routed_lists_foreign_routes_only(site: Site) -> None:
    site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    site.converge()
    site.machine.ip("route add 10.9.0.0/16 via 198.51.100.2")
    site.machine.ip("route add 10.8.0.0/16 via 198.51.100.2 table 77")
    site.machine.ip("route add unreachable 10.7.0.0/16")
    site.machine.ip("route add default via 198.51.100.2")
    site.machine.ip("-6 route add 2001:db8:9::/48 via 2001:db8:51::2")
    site.machine.ip("-6 route add unreachable 2001:db8:7::/48 table 77")
    site.machine.ip("-6 route add default via 2001:db8:51::2")
    others = {"10.7.0.0/16", "10.8.0.0/16", "10.9.0.0/16", "127.0.0.0/8", "198.51.100.0/24"}
    others6 = {"2001:db8:7::/48", "2001:db8:9::/48", "2001:db8:51::/64", "::1/128"}
    assert {str(network) for network in site.do(site.host.used_subnets())} == others | others6
    site.reopen()
    assert {str(network) for network in site.do(site.host.used_subnets())} == others | others6


@pytest.mark.parametrize("times", [1, 6])
def test_a_bridge_is_created_again_while_the_removed_one_is_deleted(site: Site, times: int) -> None:
    front = replace(site.network("front", "172.18.0.1/16"), name="nd-0123456789ab")
    site.do(site.host.apply([Step(Verb.ADD, front)]))
    former = site.machine.json(f"link show dev {front.name}")[0]["ifindex"]
    for _ in range(times):
        site.do(site.host.apply([Step(Verb.DEL, front)]))
        site.do(site.host.apply([Step(Verb.ADD, front)]))
    site.do(site.host.reap())
    found = site.machine.json(f"link show dev {front.name}")[0]
    assert found["ifindex"] > former and "UP" in found["flags"]
    assert found["group"] == "default"
    assert site.have()[front.key] == front
    assert {name for name in site.machine.links() if name.startswith("nd")} == {front.name}


def test_a_removed_bridge_passes_no_packets_and_is_not_found(site: Site) -> None:
    front = replace(site.network("front", "172.18.0.1/16"), name="nd-0123456789ab")
    site.do(site.host.apply([Step(Verb.ADD, front)]))
    site.do(site.host.apply([Step(Verb.DEL, front)]))
    assert front.key not in site.have()
    assert not site.machine.json("route show table all root 172.18.0.0/16")
    site.do(site.host.begin_reaping())
    assert front.name not in site.machine.links()
