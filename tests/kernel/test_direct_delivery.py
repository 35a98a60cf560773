"""Containers of one network send each other frames without the bridge, where nothing forbids it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netd.facts import Bridge, DefaultRoute, Pair, Segment
from netd.host_protocol import Change
from netd.kernel.delivery import bpf_calls, program
from netd.kernel.firewall.forwarding import bridged_rules
from netd.portmap.rules import Ruleset, RulesetChange
from tests.kernel.conftest import UPLINK, UPLINK6, Site, make_pair, port, set_bridge_filter
from tests.kernel.test_changes import noticed
from tests.lab import PATIENCE, reach

BRIDGE_TABLE = "add table bridge operator\nadd chain bridge operator forward { type filter hook forward priority 0; }"


@pytest.fixture
def front(site: Site) -> Bridge:
    set_bridge_filter(site, False)
    bridge = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    site.container("web", bridge, 2)
    site.container("pal", bridge, 3)
    site.converge()
    return bridge


def send(site: Site, sender: str, receiver: Pair) -> None:
    """Send a datagram by a raw socket; the frame needs no ARP."""
    inside = site.inside(sender)
    source = inside.json("addr show dev eth0")[0]["addr_info"][0]["local"]
    tap = site.lab.tap(inside, "eth0")
    address = str(receiver.addresses[0].ip)
    tap.send(Ether(dst=receiver.mac) / IP(src=source, dst=address) / UDP(sport=9, dport=9))
    tap.close()


def bridged(site: Site, sender: str, receiver: Pair) -> bool:
    """Return whether a frame of *sender* leaves by the port of *receiver*; it must arrive in either case."""
    outer = site.lab.tap(site.machine, receiver.host)
    inner = site.lab.tap(site.inside(receiver.sandbox), receiver.inside)

    def is_it(packet: Packet) -> bool:
        return IP in packet and UDP in packet and packet[UDP].dport == 9

    send(site, sender, receiver)
    inner.expect(is_it)
    found = outer.find(is_it, 0.1) is not None
    inner.close()
    outer.close()
    return found


def pair(site: Site, sandbox: str) -> Pair:
    return next(fact for fact in site.wanted.values() if isinstance(fact, Pair) and fact.sandbox == sandbox)


def programs(site: Site, link: str) -> set[str]:
    """Return the ids of the programs of direct delivery on a port."""
    listed = site.machine.command("tc", "filter", "show", "dev", link, "ingress")
    return set(re.findall(rf"{program.NAME}.* id (\d+)", listed))


@pytest.fixture
def elements(site: Site, front: Bridge) -> Iterator[int]:
    """The descriptor of the map, as another program of the host opens it."""
    (identifier,) = programs(site, "ndpwebront")
    opened = bpf_calls.program_by_id(int(identifier))
    held = bpf_calls.map_by_id(bpf_calls.program_info(opened).maps[0])
    yield held
    os.close(opened)
    os.close(held)


def test_frames_between_containers_do_not_pass_the_bridge_and_are_counted(site: Site, front: Bridge) -> None:
    pal = pair(site, "pal")
    before = site.do(site.host.link_counters())[pal.host]
    assert not bridged(site, "web", pal)
    for _ in range(50):
        send(site, "web", pal)
    after = site.do(site.host.link_counters())[pal.host]
    assert 51 <= after.sent_packets - before.sent_packets < 80
    assert after.sent_bytes - before.sent_bytes >= 51 * (14 + 20 + 8)
    inside = site.inside("pal").json("-s link show dev eth0")[0]["stats64"]["rx"]
    assert inside["packets"] >= 51
    for address in ("172.18.0.3", "fd00:18::3"):
        site.lab.echo(site.inside("pal"), 80, address=address)
        assert reach(site.inside("web"), address, 80) is not None


def test_the_host_and_a_port_itself_are_reached_by_the_bridge(site: Site, front: Bridge) -> None:
    site.publish()
    site.lab.echo(site.inside("pal"), 80)
    assert reach(site.machine, "172.18.0.3", 80) == "172.18.0.1"
    web = pair(site, "web")
    tap = site.lab.tap(site.machine, web.host)
    send(site, "web", web)
    frames = tap.until(lambda packet: UDP in packet and packet.dst == web.mac and packet[UDP].dport == 9)
    assert not any(UDP in frame for frame in frames)


@pytest.mark.parametrize("kind", ["isolated", "unguarded", "foreign"])
def test_only_ports_that_the_network_lets_reach_each_other_deliver_directly(site: Site, kind: str) -> None:
    bridge = site.network("front", "172.18.0.1/16", isolated=kind == "isolated")
    if kind == "foreign":
        site.machine.ip(f"link add {bridge.name} type bridge")
        site.want(replace(bridge, owned=False, egress_barrier=True))
    for last, sandbox in enumerate(("web", "pal"), 2):
        made = site.container(sandbox, bridge, last)
        site.want(replace(made, antispoof=kind != "unguarded"))
    site.converge()
    assert programs(site, "ndpwebront") == programs(site, "ndppalront") == set()
    if kind != "isolated":
        assert bridged(site, "web", pair(site, "pal"))


def test_a_port_without_the_antispoof_program_is_reached_by_the_bridge(site: Site, front: Bridge) -> None:
    pal = replace(pair(site, "pal"), antispoof=False)
    site.want(pal)
    site.converge()
    assert bridged(site, "web", pal)
    site.want(replace(pal, antispoof=True))
    site.converge()
    assert not bridged(site, "web", pal)


def test_networks_are_apart_also_for_frames_to_a_known_mac(site: Site, front: Bridge) -> None:
    back = site.network("back", "172.19.0.1/16")
    shop = site.container("shop", back, 2)
    site.converge()
    tap = site.lab.tap(site.inside("shop"), "eth0")
    send(site, "web", shop)
    send(site, "web", pair(site, "pal"))
    site.converge()
    tap.refuse(lambda packet: UDP in packet)


def test_networks_are_apart_whose_bridges_have_indices_with_the_same_low_16_bits(site: Site, front: Bridge) -> None:
    """The kernel passes a program 16 bits of the class id of its filter."""
    low = site.machine.json(f"link show dev {front.name}")[0]["ifindex"]
    site.machine.ip(f"link add nd-back index {low + (1 << 16)} type bridge")
    site.machine.ip("link set nd-back alias netd")
    back = site.network("back", "172.19.0.1/16")
    site.container("shop", back, 2)
    till = site.container("till", back, 3)
    site.converge()
    tap = site.lab.tap(site.inside("pal"), "eth0")
    send(site, "shop", pair(site, "pal"))
    tap.refuse(lambda packet: UDP in packet)
    assert bridged(site, "shop", till)


def test_segments_of_a_network_deliver_to_each_other(site: Site, front: Bridge) -> None:
    segment = Segment(name="nds12345678-1", bridge=front.name, mtu=1500)
    far = replace(make_pair("far", front, 9), bridge=segment.name)
    site.container("far", front, 9)
    site.want(segment, far)
    site.converge()
    assert not bridged(site, "web", far)
    assert not bridged(site, "far", pair(site, "web"))


def test_a_restarted_daemon_takes_over_program_and_map(site: Site, front: Bridge) -> None:
    before = programs(site, "ndpwebront")
    site.do(site.host.close())
    assert not bridged(site, "web", pair(site, "pal"))
    site.host = site.open()
    assert site.have() == site.wanted
    site.container("late", front, 4)
    site.converge()
    assert programs(site, "ndpwebront") == programs(site, "ndplateront") == before
    assert not bridged(site, "web", pair(site, "late"))


def test_an_element_of_a_port_that_died_with_the_daemon_is_deleted(site: Site, front: Bridge, elements: int) -> None:
    assert len(list(bpf_calls.keys(elements, program.KEY.size))) == 2
    site.do(site.host.close())
    site.machine.ip("link del ndppalront")
    site.host = site.open()
    site.have()
    assert len(list(bpf_calls.keys(elements, program.KEY.size))) == 1


def test_a_deleted_port_has_no_element_and_its_index_is_not_given_again(
    site: Site, front: Bridge, elements: int
) -> None:
    former = site.machine.json("link show dev ndppalront")[0]["ifindex"]
    pal = pair(site, "pal")
    site.unwant(
        pal, *(fact for fact in site.wanted.values() if isinstance(fact, DefaultRoute) and fact.sandbox == "pal")
    )
    site.converge()
    assert len(list(bpf_calls.keys(elements, program.KEY.size))) == 1
    site.container("pal", front, 3)
    site.converge()
    site.machine.ip("link add other type veth peer name other-peer")
    assert site.machine.json("link show dev ndppalront")[0]["ifindex"] == former + 1 > 1 << 24
    assert site.machine.json("link show dev other")[0]["ifindex"] < 1 << 20


def test_a_damaged_map_is_found_and_repaired(site: Site, front: Bridge, elements: int) -> None:
    for key in list(bpf_calls.keys(elements, program.KEY.size)):
        bpf_calls.delete(elements, key)
    assert bridged(site, "web", pair(site, "pal"))
    assert site.have() != site.wanted
    site.converge()
    assert not bridged(site, "web", pair(site, "pal"))


@pytest.mark.parametrize(
    "rule",
    [
        "qdisc add dev {} root tbf rate 1gbit burst 32k latency 50ms",
        "filter add dev {} egress bpf da bytecode 1,6\t0\t0\t4294967295",
    ],
)
def test_a_port_that_the_operator_shapes_or_filters_is_reached_by_the_bridge(
    site: Site, front: Bridge, rule: str
) -> None:
    pal = pair(site, "pal")
    words = [word.replace("\t", " ") for word in rule.format(pal.host).split(" ")]
    noticed(site, lambda: site.machine.command("tc", *words), Change("link", pal.host))
    site.converge()
    assert bridged(site, "web", pal)
    assert site.have() == site.wanted
    if "egress" in words:
        site.machine.command("tc", "filter", "del", "dev", pal.host, "egress")
    else:
        site.machine.command("tc", "qdisc", "del", "dev", pal.host, "root")
    site.converge()
    assert not bridged(site, "web", pal)


def test_filters_of_the_operator_precede_delivery(site: Site, front: Bridge) -> None:
    web, pal = pair(site, "web"), pair(site, "pal")
    tap = site.lab.tap(site.inside("pal"), "eth0")
    site.machine.command(*f"tc filter add dev {web.host} ingress bpf da bytecode".split(), "1,6 0 0 2")
    send(site, "web", pal)
    site.machine.command(*f"tc filter del dev {web.host} ingress pref 49152".split(), check=False)
    tap.refuse(lambda packet: UDP in packet)


def test_delivery_pauses_while_nftables_filters_bridges(site: Site, front: Bridge) -> None:
    pal = pair(site, "pal")
    site.machine.nft(BRIDGE_TABLE)
    assert site.have() == site.wanted
    assert bridged(site, "web", pal)
    late = site.container("late", front, 4)
    site.converge()
    assert bridged(site, "web", late)
    site.machine.nft("delete table bridge operator")
    assert site.have() == site.wanted
    assert not bridged(site, "web", pal)
    assert not bridged(site, "web", late)


def test_delivery_does_not_pause_for_br_netfilter_alone(site: Site, backend: str, front: Bridge) -> None:
    """Through a published port, replies to a neighbour pass the host: they are sent to the gateway's address."""
    web, pal = pair(site, "web"), pair(site, "pal")
    protocols = ("tcp", "udp")
    for protocol in protocols:
        site.publish(port(8080, web, 80, protocol=protocol), port(8080, web, 80, protocol=protocol, address="::"))
        for address in ("0.0.0.0", "::"):
            site.lab.echo(site.inside("web"), 80, protocol, address=address)
    for on in (True, False):
        set_bridge_filter(site, on)
        site.do(site.host.reset_firewall(site.ruleset()))
        assert site.have() == site.wanted
        assert not bridged(site, "web", pal)
        for protocol in protocols:
            for name in ("pal", "web"):
                client = site.inside(name)
                for address in (UPLINK, "172.18.0.1"):
                    assert reach(client, address, 8080, protocol) == "172.18.0.1"
                for address in (UPLINK6, "fd00:18::1"):
                    assert reach(client, address, 8080, protocol) == "fd00:18::1"
            assert reach(site.inside("pal"), "172.18.0.2", 80, protocol) == "172.18.0.3"
            assert reach(site.inside("pal"), "fd00:18::2", 80, protocol) == "fd00:18::3"


DOCKER = """for p in iptables ip6tables; do
$p-{0} -N DOCKER-USER; $p-{0} -A FORWARD -j DOCKER-USER; $p-{0} -A DOCKER-USER -j RETURN
$p-{0} -N DOCKER-FORWARD; $p-{0} -A FORWARD -j DOCKER-FORWARD
$p-{0} -N ISOLATE; $p-{0} -A DOCKER-FORWARD -i docker0 ! -o docker0 -j ISOLATE; $p-{0} -A ISOLATE -o br-+ -j DROP
$p-{0} -A DOCKER-FORWARD ! -i docker0 -o docker0 -j DROP; $p-{0} -A FORWARD -m conntrack --ctstate INVALID -j DROP
$p-{0} -t nat -N DOCKER; $p-{0} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
done
iptables-{0} -t nat -A DOCKER ! -i docker0 -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
iptables-{0} -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables-{0} -t raw -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP"""
"""Rules as Docker has them, and none that may match packets within a network of netd."""
FOREIGN = {
    "source": "iptables-{} -I DOCKER-USER -s 172.18.0.3/32 -j DROP",
    "port": "iptables-{} -I DOCKER-USER -p tcp --dport 22 -j REJECT",
    "any": "iptables-{} -I FORWARD -p udp -j LOG",
    "policy": "iptables-{} -P FORWARD DROP",
    "prerouting": "iptables-{} -t mangle -A PREROUTING -i nd-+ -j MARK --set-mark 4",
    "postrouting": "iptables-{} -t nat -A POSTROUTING -j MASQUERADE",
    "dnat": "iptables-{} -t nat -A DOCKER -p tcp --dport 99 -j DNAT --to-destination 172.18.0.2:80",
    "ipv6": "ip6tables-{} -A FORWARD -s fd00:18::/64 -j DROP",
}


@pytest.mark.parametrize("form", ["legacy", "nft"])
def test_delivery_pauses_while_rules_of_others_may_see_bridged_packets(
    site: Site, front: Bridge, elements: int, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(bridged_rules, "_REST", 0)
    site.publish()
    set_bridge_filter(site, True)
    site.machine.command("sh", "-ec", DOCKER.format(form))
    assert site.have() == site.wanted
    assert not bridged(site, "web", pair(site, "pal"))
    for rule in FOREIGN.values():
        undo = rule.replace(" -A ", " -D ").replace(" -I ", " -D ").replace("FORWARD DROP", "FORWARD ACCEPT")
        for command, pauses in ((rule, True), (undo, False)):
            site.machine.command("sh", "-ec", command.format(form))
            until_delivery(site, elements, pauses=pauses)


def until_delivery(site: Site, elements: int, *, pauses: bool) -> None:
    """Read until the map is empty, or contains the ports; netd rests between two readings of other programs' rules."""
    deadline = time.monotonic() + 10 * PATIENCE
    while bool(list(bpf_calls.keys(elements, program.KEY.size))) is pauses:
        assert time.monotonic() < deadline
        assert site.have() == site.wanted


def test_changed_rules_of_others_are_noticed(site: Site, front: Bridge, elements: int) -> None:
    site.publish()
    set_bridge_filter(site, True)
    assert site.have() == site.wanted
    site.machine.command("iptables-legacy", "-A", "FORWARD", "-s", "172.18.0.3", "-j", "DROP")

    async def compare() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(anext(site.host.changes()), 0.6)

    deadline = time.monotonic() + 10 * PATIENCE
    while list(bpf_calls.keys(elements, program.KEY.size)):
        assert time.monotonic() < deadline
        site.do(compare())


@pytest.mark.parametrize(
    "rule",
    [
        "chain f { type filter hook forward priority 0; tcp dport 22 drop; }",
        "chain f { type filter hook forward priority 0; policy drop; ct state established accept; }",
        'chain f { type filter hook prerouting priority 0; iifname "nd-front" counter meta mark set 1; }',
        "set s { type ipv4_addr; }; chain f { type filter hook forward priority 0; ip saddr @s drop; }",
        "chain f { type nat hook prerouting priority -100; tcp dport 99 dnat ip to 172.18.0.2:80; }",
    ],
)
def test_delivery_pauses_while_nftables_rules_of_others_may_see_bridged_packets(
    site: Site, front: Bridge, elements: int, rule: str
) -> None:
    site.publish()
    set_bridge_filter(site, True)
    neutral = 'iifname "eth0" drop; ip saddr 10.0.0.0/8 drop; ct state invalid drop; fib daddr type local drop; counter'
    site.machine.nft(f"table inet other {{ chain f {{ type filter hook forward priority 0; {neutral}; }}; }}")
    assert site.have() == site.wanted
    assert not bridged(site, "web", pair(site, "pal"))
    site.machine.nft(f"table inet admin {{ {rule}; }}")
    until_delivery(site, elements, pauses=True)
    site.direct = "on"
    site.reopen()
    site.converge()
    assert not bridged(site, "web", pair(site, "pal"))


def test_rules_about_a_network_apply_to_it_from_its_creation(site: Site, front: Bridge) -> None:
    site.publish()
    set_bridge_filter(site, True)
    site.machine.command("iptables-legacy", "-A", "FORWARD", "-s", "172.19.0.0/16", "-j", "DROP")
    assert site.have() == site.wanted
    assert not bridged(site, "web", pair(site, "pal"))
    back = site.network("back", "172.19.0.1/16")
    site.container("shop", back, 2)
    till = site.container("till", back, 3)
    added = RulesetChange(added=Ruleset(frozenset({site.bridges["back"]})))
    site.do(site.host.change_firewall(added))
    site.do(site.host.apply(site.steps()))
    outer = site.lab.tap(site.inside("till"), "eth0")
    send(site, "shop", till)
    outer.refuse(lambda packet: UDP in packet)


def test_a_daemon_that_is_restarted_during_a_pause_finds_nothing_to_repair(site: Site, front: Bridge) -> None:
    pal = pair(site, "pal")
    site.machine.nft(BRIDGE_TABLE)
    assert site.have() == site.wanted
    site.reopen()
    assert site.have() == site.wanted
    assert bridged(site, "web", pal)
    site.machine.nft("delete table bridge operator")
    assert site.have() == site.wanted
    assert not bridged(site, "web", pal)


def test_a_restarted_daemon_delivers_only_after_it_has_compared_rules(site: Site, front: Bridge) -> None:
    """It does not know yet what the rules of others are compared with."""
    site.publish()
    set_bridge_filter(site, True)
    assert site.have() == site.wanted
    assert not bridged(site, "web", pair(site, "pal"))
    site.reopen()
    assert site.have() == site.wanted
    assert bridged(site, "web", pair(site, "pal"))
    site.publish()
    assert not bridged(site, "web", pair(site, "pal"))


def test_containers_that_were_given_one_mac_are_reached_by_the_bridge(site: Site, front: Bridge, elements: int) -> None:
    twin = replace(site.container("twin", front, 4), mac=pair(site, "pal").mac)
    site.want(twin)
    site.converge()
    assert site.have() == site.wanted
    (left,) = bpf_calls.keys(elements, program.KEY.size)
    assert program.KEY.unpack(left)[1].hex(":") == pair(site, "web").mac
    twins = [fact for fact in site.wanted.values() if isinstance(fact, DefaultRoute) and fact.sandbox == "twin"]
    site.unwant(twin, *twins)
    site.converge()
    assert not bridged(site, "web", pair(site, "pal"))


def test_it_can_be_switched_off_and_on(site: Site, front: Bridge) -> None:
    for direct in ("off", "auto"):
        site.direct = direct
        site.reopen()
        assert site.have() != site.wanted
        site.converge()
        assert bool(programs(site, "ndpwebront")) is (direct == "auto")
        assert bridged(site, "web", pair(site, "pal")) is (direct == "off")


def test_a_bridge_knows_the_port_of_each_container(site: Site, front: Bridge) -> None:
    pal = pair(site, "pal")
    entry = f"{pal.mac} dev {pal.host} master {front.name} static"
    assert entry in site.machine.command("bridge", "fdb", "show", "br", front.name)
    site.unwant(pal)
    site.do(site.host.apply(site.steps()))
    site.want(pal)
    site.converge()
    assert entry in site.machine.command("bridge", "fdb", "show", "br", front.name)


def test_entries_of_a_bridge_go_with_the_mac_and_the_port_and_stay_during_a_pause(site: Site, front: Bridge) -> None:
    pal = pair(site, "pal")

    def entries() -> set[str]:
        listed = site.machine.command("bridge", "fdb", "show", "br", front.name).splitlines()
        return {line.split()[0] for line in listed if f"dev {pal.host} master {front.name} static" in line}

    site.machine.nft(BRIDGE_TABLE)
    assert site.have() == site.wanted and bridged(site, "web", pal)
    assert entries() == {pal.mac}
    other = replace(pal, mac="02:42:ac:12:00:77")
    site.want(other)
    site.converge()
    assert entries() == {other.mac}
    site.want(replace(other, antispoof=False))
    site.converge()
    assert entries() == set()
    site.want(pal)
    site.converge()
    site.unwant(pal)
    site.do(site.host.apply(site.steps()))
    site.do(site.host.reap())
    assert pal.mac not in site.machine.command("bridge", "fdb", "show", "br", front.name)


@pytest.mark.parametrize("refused", [1, 38])
def test_a_kernel_that_refuses_the_program_keeps_the_bridge(
    site: Site, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    def fail(name: str, instructions: bytes) -> int:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(bpf_calls, "load_classifier", fail)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    site.reopen()
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
    front = site.network("front", "172.18.0.1/16")
    site.container("web", front, 2)
    pal = site.container("pal", front, 3)
    site.converge()
    assert bridged(site, "web", pal)
