"""The firewall's rules are flushed while a neighbour sends continuously to unpublished ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.kernel.conftest import OUTSIDE, OUTSIDE6, UPLINK, Site, port
from tests.lab import Lab, Node, reach

WEB, WEB6, SHOP = "172.18.0.2", "fd00:18::2", "172.20.0.2"
FLUSHES = 20
LEGACY = [f"{kind}tables-legacy -t {table} -F" for kind in ("ip", "ip6") for table in ("mangle", "nat", "raw")]
FLUSH = {"nftables": ["nft flush ruleset"], "iptables": LEGACY}
_OTHERS = "add table inet other; add chain inet other in { type filter hook input priority 5; }"
KEEPS_TRACKING = f"{_OTHERS}; add rule inet other in ct state invalid drop"


@pytest.fixture(params=["nftables", "iptables"])
def place(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """A host with *web* on front, *shop* on mall, and a neighbour that has routes to both networks."""
    site = Site(lab, tmp_path / "run", request.param)
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    mall = site.network("mall", "172.20.0.1/16")
    web, _ = site.container("web", front, 2), site.container("shop", mall, 2)
    site.converge()
    site.publish(port(8080, web, 80), port(8082, web, 80, address="127.0.0.1"))
    lab.echo(site.inside("web"), 80)
    site.outside.ip(f"route add 172.16.0.0/12 via {UPLINK}")
    yield site
    site.close()


def flush(site: Site) -> None:
    for command in FLUSH[site.backend]:
        site.machine.command(*command.split())


@contextmanager
def sending(node: Node, link: str, *frames: Packet) -> Iterator[None]:
    """Send all frames every millisecond, and once more at the end."""
    raw = [bytes(frame) for frame in frames]
    over = threading.Event()
    sender = node.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    sender.bind((link, 0))

    def go() -> None:
        while not over.wait(0.001):
            for frame in raw:
                with suppress(OSError):  # The queue is full.
                    sender.send(frame)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sender.close()


def test_nothing_reaches_a_container_while_the_rules_are_gone(place: Site, lab: Lab) -> None:
    to = Ether(src=place.outside.mac("eth0"), dst=place.machine.mac("eth0"))
    shop, gateway = place.inside("shop"), place.machine.mac("nd-mall")
    mark = b"through the gap"
    attacks = [
        to / IP(src=OUTSIDE, dst=WEB) / TCP(sport=7001, dport=81, flags="S") / mark,
        to / IP(src=OUTSIDE, dst=WEB) / UDP(sport=7001, dport=81) / mark,
        to / IP(src=OUTSIDE, dst=WEB) / ICMP() / mark,
        to / IP(src=OUTSIDE, dst="127.0.0.1") / UDP(sport=7002, dport=8082) / mark,
        to / IPv6(src=OUTSIDE6, dst=WEB6) / TCP(sport=7001, dport=81, flags="S") / mark,
        to / IPv6(src=OUTSIDE6, dst=WEB6) / ICMPv6EchoRequest() / mark,
    ]
    neighbour = Ether(src=shop.mac("eth0"), dst=gateway) / IP(src=SHOP, dst=WEB) / UDP(sport=7003, dport=81) / mark
    reach(place.machine, WEB, 80)  # The host has a neighbour entry for web, so no packet waits for resolution.
    inside, wire = lab.tap(place.inside("web"), "eth0"), lab.tap(place.machine, "eth0")
    with sending(place.outside, "eth0", *attacks), sending(shop, "eth0", neighbour):
        for _ in range(FLUSHES):
            flush(place)
            for _ in range(3):
                wire.expect(lambda packet: mark in bytes(packet) and ICMPv6EchoRequest in packet)
            place.do(place.host.reset_firewall(place.ruleset()))
    assert reach(place.outside, UPLINK, 8080) == OUTSIDE
    before = inside.until(lambda packet: TCP in packet and packet[TCP].dport == 80)
    assert not [packet.summary() for packet in before if mark in bytes(packet)]


def test_what_began_untranslated_while_the_rules_were_gone_does_not_go_on(place: Site, lab: Lab) -> None:
    place.machine.nft(KEEPS_TRACKING.replace("; add", "\nadd"))
    lab.echo(place.outside, 9, "udp")
    wire = lab.tap(place.outside, "eth0")
    with place.inside("web").run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.connect((OUTSIDE, 9))
        if place.backend == "nftables":
            place.machine.nft("delete table inet netd")
        else:
            flush(place)
        client.send(b"in the gap")
        wire.expect(lambda packet: IP in packet and packet[IP].src == WEB and b"in the gap" in bytes(packet))
        place.do(place.host.reset_firewall(place.ruleset()))
        assert place.do(place.host.delete_stray_connections(place.ruleset())) == 1
        client.send(b"and then")
        seen = wire.expect(lambda packet: IP in packet and b"and then" in bytes(packet))
    assert seen[IP].src == UPLINK


def test_connections_that_the_rules_admit_go_on_after_a_restoration(place: Site) -> None:
    """Connections in both directions, and the host's own."""
    place.machine.nft(KEEPS_TRACKING.replace("; add", "\nadd"))
    place.lab.echo(place.outside, 80)
    sockets = []
    for node, address, number in (
        (place.outside, UPLINK, 8080),
        (place.inside("web"), OUTSIDE, 80),
        (place.machine, WEB, 80),
        (place.machine, "127.0.0.1", 8082),
    ):
        sockets.append(node.run(lambda to=(address, number): socket.create_connection(to, 5)))
    try:
        assert place.do(place.host.delete_stray_connections(place.ruleset())) == 0
    finally:
        for client in sockets:
            client.close()
