"""Masquerade: what leaves for elsewhere bears the host's address, and what comes back finds its container."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest

from tests.lab import Lab, reach, unreachable
from tests.packets.town import Book, Town

pytestmark = pytest.mark.parametrize("backend", ["nftables", "iptables"], indirect=True, scope="module")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_world_sees_the_host(town: Town, lab: Lab, book: Book, protocol: str) -> None:
    lab.echo(town.outside, 7001, protocol, book.outside)
    assert reach(town.nodes["web"], book.outside, 7001, protocol) == book.uplink


def test_the_answer_is_translated_back(town: Town, lab: Lab, book: Book) -> None:
    """On the wire the container's address is nowhere; at the container the host's is nowhere."""
    inside, wire = lab.tap(town.nodes["web"], "eth0"), lab.tap(town.outside, "eth0")
    lab.echo(town.outside, 7002, "udp", book.outside)
    inside.send(town.to_gateway() / book.packet(book.web, book.outside) / UDP(sport=4001, dport=7002) / b"who")
    seen = wire.expect(lambda p: UDP in p and p[UDP].dport == 7002)
    assert (seen[book.ip].src, seen[book.ip].dst) == (book.uplink, book.outside)
    answer = inside.expect(lambda p: UDP in p and p[UDP].sport == 7002)
    assert (answer[book.ip].src, answer[book.ip].dst, answer[UDP].dport) == (book.outside, book.web, 4001)
    assert bytes(answer[UDP].payload).split() == [book.uplink.encode(), str(seen[UDP].sport).encode()]


def test_two_containers_that_use_one_port_do_not_get_each_others_answers(town: Town, lab: Lab, book: Book) -> None:
    lab.echo(town.outside, 7003, "udp", book.outside)
    taps = {name: lab.tap(town.nodes[name], "eth0") for name in ("web", "pal")}
    wire = lab.tap(town.outside, "eth0")
    ports = {}
    for name, tap in taps.items():
        tap.send(
            town.to_gateway() / book.packet(getattr(book, name), book.outside) / UDP(sport=4002, dport=7003) / b"x"
        )
        ports[name] = wire.expect(lambda p: UDP in p and p[UDP].dport == 7003)[UDP].sport
    assert len(set(ports.values())) == 2
    for name, tap in taps.items():
        answer = tap.expect(lambda p: UDP in p and p[UDP].sport == 7003)
        assert bytes(answer[UDP].payload).split()[1] == str(ports[name]).encode()


def test_pings_go_out_and_come_back(town: Town, lab: Lab, book: Book) -> None:
    inside, wire = lab.tap(town.nodes["web"], "eth0"), lab.tap(town.outside, "eth0")
    ask, answer = (ICMP(id=77), ICMP) if book.too_big is ICMP else (ICMPv6EchoRequest(id=77), ICMPv6EchoReply)
    inside.send(town.to_gateway() / book.packet(book.web, book.outside) / ask / b"ping me")
    wire.expect(lambda p: book.is_from(p, book.uplink) and b"ping me" in bytes(p))
    inside.expect(lambda p: book.is_from(p, book.outside) and answer in p and b"ping me" in bytes(p))


def test_an_error_of_the_other_side_comes_back_with_what_it_is_about(town: Town, lab: Lab, book: Book) -> None:
    """A closed port: the error quotes the packet as the container sent it."""
    inside = lab.tap(town.nodes["web"], "eth0")
    inside.send(town.to_gateway() / book.packet(book.web, book.outside) / UDP(sport=4003, dport=7999) / b"x")
    kind = ICMP if book.too_big is ICMP else ICMPv6DestUnreach
    error = inside.expect(lambda p: kind in p and book.is_from(p, book.outside))
    quoted = error[kind].payload
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport) == (book.web, book.outside, 4003, 7999)


def test_within_a_network_and_from_the_host_nothing_is_hidden(town: Town, book: Book) -> None:
    assert reach(town.nodes["pal"], book.web, 80) == book.pal
    assert reach(town.machine, book.web, 80) == book.gateway


def test_an_internal_network_sends_nothing_out(town: Town, lab: Lab, book: Book) -> None:
    """Nor when somebody inside makes himself a route."""
    vault, family = town.nodes["vault"], 4 if book.too_big is ICMP else 6
    vault.ip(f"-{family} route replace default via {'172.21.0.1' if family == 4 else 'fd00:21::1'}")
    wire = lab.tap(town.outside, "eth0")
    lab.echo(town.outside, 7004, address=book.outside)
    assert unreachable(vault, book.outside, 7004)
    wire.refuse(lambda p: book.ip in p and p[book.ip].dst == book.outside, timeout=0)
