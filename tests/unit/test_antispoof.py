"""The anti-spoofing BPF program, run by the kernel as a socket filter on frames built by scapy."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_interface

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery2,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from netd.kernel.links import antispoof

MAC, OTHER_MAC = "02:42:ac:12:00:02", "02:42:ac:12:00:03"
IPV4, OTHER_IPV4, GATEWAY = "172.18.0.2", "172.18.0.3", "172.18.0.1"
IPV6, OTHER_IPV6, GATEWAY6 = "fd00:18::2", "fd00:18::3", "fd00:18::1"
LOCAL, OTHER_LOCAL = str(antispoof.link_local(MAC)), str(antispoof.link_local(OTHER_MAC))
DUAL = (ip_interface(f"{IPV4}/16"), ip_interface(f"{IPV6}/64"))
_ATTACH_FILTER = 26


class Port:
    """A socket pair with the program attached as the receiver's socket filter."""

    def __init__(self, program: bytes) -> None:
        self._sender, self._receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        code = ctypes.create_string_buffer(program)
        head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
        self._receiver.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, head)

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()

    def passes(self, frame: Packet | bytes) -> bool:
        """A socket filter returns the number of bytes to keep: here the whole frame, or two bytes for a drop."""
        sent = bytes(frame)
        self._sender.send(sent)
        got = self._receiver.recv(65536)
        assert got == sent or len(got) == antispoof.DROP
        return got == sent


@contextmanager
def port(*addresses: str) -> Iterator[Port]:
    made = Port(antispoof.program(MAC, [ip_interface(address) for address in addresses]))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def dual() -> Iterator[Port]:
    with port(f"{IPV4}/16", f"{IPV6}/64") as made:
        yield made


def ether(source: str = MAC, to: str = "02:42:ac:12:00:01") -> Ether:
    return Ether(src=source, dst=to)


def arp(mac: str = MAC, address: str = IPV4, to: str = GATEWAY, **more: object) -> Packet:
    return ether(to="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mac, psrc=address, pdst=to, **more)


ALERT = IPOption_Router_Alert()
DHCP_OFFER = UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"])
OWN = {
    "ipv4": ether() / IP(src=IPV4, dst="203.0.113.9") / TCP(dport=80),
    "a later fragment": ether() / IP(src=IPV4, dst=GATEWAY, frag=100) / Raw(b"x" * 64),
    "dhcp": ether(to="ff:ff:ff:ff:ff:ff")
    / IP(src="0.0.0.0", dst="255.255.255.255")
    / UDP(sport=68, dport=67)
    / BOOTP()
    / DHCP(),
    "arp request": arp(),
    "arp answer": arp(op=2),
    "arp probe": arp(address="0.0.0.0", to=IPV4),
    "ipv6": ether() / IPv6(src=IPV6, dst="2001:db8::9") / TCP(dport=80),
    "link-local": ether() / IPv6(src=LOCAL, dst="fe80::1") / ICMPv6EchoRequest(),
    "solicitation": ether() / IPv6(src=LOCAL, dst="ff02::1:ff00:1") / ICMPv6ND_NS(tgt=GATEWAY6),
    "advertisement": ether() / IPv6(src=IPV6, dst="ff02::1") / ICMPv6ND_NA(tgt=IPV6),
    "link-local advertisement": ether() / IPv6(src=LOCAL, dst="ff02::1") / ICMPv6ND_NA(tgt=LOCAL),
    "duplicate detection": ether() / IPv6(src="::", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt=LOCAL),
    "router solicitation": ether() / IPv6(src=LOCAL, dst="ff02::2") / ICMPv6ND_RS(),
    "multicast report": ether() / IPv6(src="::", dst="ff02::16") / IPv6ExtHdrHopByHop() / ICMPv6MLReport2(),
    "extension headers": ether() / IPv6(src=IPV6, dst=GATEWAY6) / IPv6ExtHdrDestOpt() / UDP(),
    "a big ping's beginning": ether() / IPv6(src=IPV6, dst=GATEWAY6) / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(),
    "a big ping's end": ether()
    / IPv6(src=IPV6, dst=GATEWAY6)
    / IPv6ExtHdrFragment(offset=99, nh=58)
    / Raw(b"\x86" * 40),
    "dhcp renewal": ether() / IP(src=IPV4, dst=GATEWAY) / UDP(sport=68, dport=67) / BOOTP(),
    "dhcpv6": ether() / IPv6(src=LOCAL, dst="ff02::1:2") / UDP(sport=546, dport=547) / Raw(b"x" * 8),
    "ping": ether() / IP(src=IPV4, dst=GATEWAY) / ICMP(),
    "group report": ether() / IP(src=IPV4, dst="224.0.0.22", proto=2, options=ALERT) / Raw(b"\x22" + bytes(15)),
    "router solicitation from none": ether() / IPv6(src="::", dst="ff02::2") / ICMPv6ND_RS(),
}

RA = ICMPv6ND_RA()
FORGED = {
    "mac": ether(OTHER_MAC) / IP(src=IPV4, dst=GATEWAY) / UDP(),
    "mac of something else": Ether(src=OTHER_MAC, dst=MAC, type=0x88B5) / Raw(b"x" * 64),
    "ipv4": ether() / IP(src=OTHER_IPV4, dst=GATEWAY) / UDP(),
    "the gateway's ipv4": ether() / IP(src=GATEWAY, dst=OTHER_IPV4) / ICMP(type=5),
    "loopback": ether() / IP(src="127.0.0.1", dst=GATEWAY) / UDP(),
    "no ipv4, to one": ether() / IP(src="0.0.0.0", dst=GATEWAY) / UDP(),
    "arp for another": arp(address=OTHER_IPV4, op=2),
    "arp for the gateway": arp(address=GATEWAY, op=2),
    "arp of another's mac": arp(mac=OTHER_MAC),
    "arp of other hardware": arp(hwtype=6),
    "reverse arp": Ether(src=MAC, dst=OTHER_MAC, type=0x8035) / ARP(hwsrc=MAC, psrc=IPV4),
    "ipv6": ether() / IPv6(src=OTHER_IPV6, dst=GATEWAY6) / UDP(),
    "a part of the ipv6": ether() / IPv6(src="fd00:18:1::2", dst=GATEWAY6) / UDP(),
    "ipv6 loopback": ether() / IPv6(src="::1", dst=GATEWAY6) / UDP(),
    "another's link-local": ether() / IPv6(src=OTHER_LOCAL, dst=GATEWAY6) / UDP(),
    "no ipv6, to one": ether() / IPv6(src="::", dst=GATEWAY6) / UDP(),
    "advertisement for another": ether() / IPv6(src=LOCAL, dst="ff02::1") / ICMPv6ND_NA(tgt=OTHER_IPV6),
    "advertisement for the gateway": ether() / IPv6(src=IPV6, dst="ff02::1") / ICMPv6ND_NA(tgt=GATEWAY6),
    "detection of another": ether() / IPv6(src="::", dst="ff02::1:ff00:3") / ICMPv6ND_NS(tgt=OTHER_LOCAL),
    "router": ether() / IPv6(src=LOCAL, dst="ff02::1") / RA,
    "redirect": ether() / IPv6(src=LOCAL, dst=OTHER_IPV6) / ICMPv6ND_Redirect(),
    "router behind options": ether() / IPv6(src=LOCAL, dst="ff02::1") / IPv6ExtHdrDestOpt() / RA,
    "router behind more": ether() / IPv6(src=LOCAL, dst="ff02::1") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / RA,
    "router in a fragment": ether() / IPv6(src=LOCAL, dst="ff02::1") / IPv6ExtHdrFragment(m=1) / RA,
    "router behind a routing header": ether() / IPv6(src=LOCAL, dst="ff02::1") / IPv6ExtHdrRouting() / RA,
    "something else": Ether(src=MAC, dst=OTHER_MAC, type=0x88B5) / Raw(b"x" * 64),
    "spanning tree": Ether(src=MAC, dst="01:80:c2:00:00:00", type=38) / Raw(b"\x42\x42\x03" + bytes(60)),
    "dhcp offer": ether() / IP(src=IPV4, dst=OTHER_IPV4) / DHCP_OFFER,
    "dhcp offer behind options": ether() / IP(src=IPV4, dst=OTHER_IPV4, options=ALERT) / DHCP_OFFER,
    "dhcp offer in fragments": ether() / IP(src=IPV4, dst=OTHER_IPV4, flags="MF") / DHCP_OFFER,
    "dhcp offer from none": ether() / IP(src="0.0.0.0", dst="255.255.255.255") / DHCP_OFFER,
    "another datagram from none": ether() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=53),
    "ping from none": ether() / IP(src="0.0.0.0", dst="255.255.255.255") / ICMP(),
    "dhcp question in fragments": ether()
    / IP(src="0.0.0.0", dst="255.255.255.255", flags="MF")
    / UDP(sport=68, dport=67),
    "dhcpv6 answer": ether() / IPv6(src=LOCAL, dst=OTHER_LOCAL) / UDP(sport=547, dport=546) / Raw(b"x" * 8),
    "dhcpv6 answer behind options": ether()
    / IPv6(src=LOCAL, dst=OTHER_LOCAL)
    / IPv6ExtHdrDestOpt()
    / UDP(sport=547, dport=546),
    "to the host's loopback": ether() / IP(src=IPV4, dst="127.0.0.1") / UDP(),
    "redirect of ipv4": ether() / IP(src=IPV4, dst=OTHER_IPV4) / ICMP(type=5),
    "router of ipv4": ether() / IP(src=IPV4, dst="224.0.0.1") / ICMP(type=9),
    "group query": ether() / IP(src=IPV4, dst="224.0.0.1", proto=2, options=ALERT) / Raw(b"\x11" + bytes(7)),
    "pim": ether() / IP(src=IPV4, dst="224.0.0.13", proto=103) / Raw(b"\x20" + bytes(31)),
    "pim of ipv6": ether() / IPv6(src=LOCAL, dst="ff02::d", nh=103) / Raw(b"\x20" + bytes(31)),
    "mld query": ether() / IPv6(src=LOCAL, dst="ff02::1") / IPv6ExtHdrHopByHop() / ICMPv6MLQuery2(),
    "datagram from no ipv6": ether() / IPv6(src="::", dst="ff02::1") / UDP(),
    "ping from no ipv6": ether() / IPv6(src="::", dst="ff02::1") / ICMPv6EchoRequest(),
    "routing header": ether() / IPv6(src=IPV6, dst=GATEWAY6) / IPv6ExtHdrRouting() / UDP(),
    "arp probe for another": arp(address="0.0.0.0", to=OTHER_IPV4),
    "behind a vlan tag": ether() / Dot1Q(vlan=7) / IP(src=IPV4, dst=GATEWAY) / UDP(),
    "behind a service tag": ether() / Dot1AD(vlan=7) / IP(src=IPV4, dst=GATEWAY) / UDP(),
}


@pytest.mark.parametrize("what", OWN)
def test_packets_with_the_containers_own_addresses_pass(dual: Port, what: str) -> None:
    assert dual.passes(OWN[what])


@pytest.mark.parametrize("what", FORGED)
def test_forged_packets_are_dropped(dual: Port, what: str) -> None:
    assert not dual.passes(FORGED[what])


def test_packets_with_too_many_extension_headers_are_dropped(dual: Port) -> None:
    packet = ether() / IPv6(src=LOCAL, dst="ff02::1")
    for _ in range(antispoof.MAX_EXTENSION_HEADERS + 1):
        packet /= IPv6ExtHdrDestOpt()
    assert not dual.passes(packet / RA)


def test_long_extension_headers_are_skipped_completely(dual: Port) -> None:
    """The length field of an extension header counts units of eight bytes."""
    padding = bytes((58, 9)) + bytes(78)
    assert not dual.passes(ether() / IPv6(src=LOCAL, dst="ff02::1", nh=60) / Raw(padding + bytes(RA)))
    assert dual.passes(ether() / IPv6(src=LOCAL, dst="ff02::1", nh=60) / Raw(padding + bytes(ICMPv6EchoRequest())))


def test_packets_of_a_family_without_an_address_are_dropped() -> None:
    with port(f"{IPV4}/16") as only4:
        assert only4.passes(OWN["ipv4"]) and only4.passes(OWN["arp request"])
        assert not any(only4.passes(OWN[what]) for what in ("ipv6", "link-local", "duplicate detection"))
    with port(f"{IPV6}/64") as only6:
        assert only6.passes(OWN["ipv6"]) and only6.passes(OWN["dhcp"])
        assert not any(only6.passes(OWN[what]) for what in ("ipv4", "arp request", "arp probe"))


@given(st.binary(min_size=6, max_size=6), st.ip_addresses(v=4), st.ip_addresses(v=6), st.binary(max_size=40))
def test_every_endpoint_sends_with_its_own_addresses_only(
    mac: bytes, ipv4: IPv4Address, ipv6: object, payload: bytes
) -> None:
    assume(int(ipv4))
    mine, text = (ip_interface(f"{ipv4}/16"), ip_interface(f"{ipv6}/64")), mac.hex(":")
    made = Port(antispoof.program(text, mine))
    four = Ether(src=text, dst=OTHER_MAC) / IP(src=str(ipv4), dst=GATEWAY) / UDP() / Raw(payload)
    six = Ether(src=text, dst=OTHER_MAC) / IPv6(src=str(ipv6), dst=GATEWAY6) / UDP() / Raw(payload)
    try:
        assert made.passes(four) and made.passes(six)
        for frame in (bytes(four), bytes(six)):
            for place in (*range(6, 12), *(range(26, 30) if frame[13] == 0 else range(22, 38))):
                forged = bytearray(frame)
                forged[place] ^= 1
                assert not made.passes(bytes(forged))
    finally:
        made.close()
