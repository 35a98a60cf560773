"""The topology of the packet tests, with an address plan for both families."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import TypeAlias

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netd.facts import DefaultRoute, Namespace, Pair
from tests.kernel.conftest import Site, port, set_bridge_filter
from tests.lab import Lab, Node, Tap

Header: TypeAlias = type[IP] | type[IPv6]

NARROW = 1300
"""The MTU of the wire to ``far``, in bytes."""


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The addresses of one family, and builders of its packets."""

    ip: Header
    gateway: str
    web: str
    pal: str
    eve: str
    rogue: str
    shop_gateway: str
    shop: str
    uplink: str
    outside: str
    far: str
    loopback: str

    @property
    def too_big(self) -> type[Packet]:
        return ICMP if self.ip is IP else ICMPv6PacketTooBig

    @property
    def expired(self) -> type[Packet]:
        return ICMP if self.ip is IP else ICMPv6TimeExceeded

    def packet(self, source: str, to: str, hops: int = 64) -> Packet:
        return IP(src=source, dst=to, ttl=hops) if self.ip is IP else IPv6(src=source, dst=to, hlim=hops)

    def hops(self, packet: Packet) -> int:
        return packet[IP].ttl if self.ip is IP else packet[IPv6].hlim

    def whole(self, packet: Packet) -> Packet:
        """Return the packet with DF set; IPv6 routers never fragment."""
        if self.ip is IP:
            packet[IP].flags = "DF"
        return packet

    def is_from(self, packet: Packet, source: str) -> bool:
        return self.ip in packet and packet[self.ip].src == source


BOOKS = {
    4: AddressPlan(
        ip=IP,
        gateway="172.18.0.1",
        web="172.18.0.2",
        pal="172.18.0.3",
        eve="172.18.0.66",
        rogue="172.18.0.67",
        shop_gateway="172.20.0.1",
        shop="172.20.0.2",
        uplink="198.51.100.1",
        outside="198.51.100.2",
        far="203.0.113.2",
        loopback="127.0.0.1",
    ),
    6: AddressPlan(
        ip=IPv6,
        gateway="fd00:18::1",
        web="fd00:18::2",
        pal="fd00:18::3",
        eve="fd00:18::42",
        rogue="fd00:18::43",
        shop_gateway="fd00:20::1",
        shop="fd00:20::2",
        uplink="2001:db8:51::1",
        outside="2001:db8:51::2",
        far="2001:db8:fa::2",
        loopback="::1",
    ),
}


class Topology:
    """A host with the networks ``front`` (web, pal, eve; rogue without a guard), ``mall`` (shop) and ``deep`` (vault).

    ``outside`` is the neighbour on its uplink, ``far`` is behind ``outside`` on a wire with a small MTU.  web's port 80
    is published as 8080.  Bridged packets do not pass the firewall, as on a host without br_netfilter.
    """

    def __init__(self, lab: Lab, run_dir: Path, backend: str) -> None:
        self.site = site = Site(lab, run_dir, backend)
        self.machine, self.outside = site.machine, site.outside
        self.far = lab.make_host("far")
        self._lay_out(lab)
        set_bridge_filter(site, False)
        front = site.network("front", "172.18.0.1/16", "fd00:18::1/64")
        mall = site.network("mall", "172.20.0.1/16", "fd00:20::1/64")
        deep = site.network("deep", "172.21.0.1/16", "fd00:21::1/64", internal=True)
        self.pairs = {name: site.container(name, front, last) for name, last in (("web", 2), ("pal", 3), ("eve", 66))}
        self.pairs["rogue"] = replace(site.container("rogue", front, 67), antispoof=False)
        self.pairs["shop"] = site.container("shop", mall, 2)
        self.pairs["vault"] = site.container("vault", deep, 2, route=False)
        site.want(*self.pairs.values())
        self.front = front
        site.converge()
        self.nodes = {name: site.inside(name) for name in self.pairs}
        self.macs = {link: self.machine.mac(link) for link in ("eth0", "nd-front", "nd-mall")}
        web = self.pairs["web"]
        both = ("0.0.0.0", "::")
        site.publish(
            *(port(8080, web, 80, address=address, protocol=what) for address in both for what in ("tcp", "udp"))
        )
        for name in ("web", "pal", "shop", "vault"):
            self.serve(lab, self.nodes[name], 80)

    @staticmethod
    def serve(lab: Lab, node: Node, number: int) -> None:
        for address in ("0.0.0.0", "::"):
            for protocol in ("tcp", "udp"):
                lab.echo(node, number, protocol, address)

    def _lay_out(self, lab: Lab) -> None:
        """Configure ``outside`` as the router between the host and ``far``."""
        link = lab.wire(self.outside, self.far, "203.0.113.0/24", "2001:db8:fa::/64")
        for node in (self.outside, self.far):
            node.ip(f"link set {link} mtu {NARROW}")
        self.outside.sysctl("net/ipv4/ip_forward", "1")
        self.outside.sysctl("net/ipv6/conf/all/forwarding", "1")
        self.far.ip("route add default via 203.0.113.1")
        self.far.ip("-6 route add default via 2001:db8:fa::1")
        self.machine.ip("route add default via 198.51.100.2")
        self.machine.ip("-6 route add default via 2001:db8:51::2")

    def close(self) -> None:
        self.site.close()

    def mac(self, name: str) -> str:
        return self.pairs[name].mac

    def move_in(self, name: str, last: int, **changes: str) -> Pair:
        """Add a container on ``front``; *changes* are fields of its pair."""
        pair = replace(self.site.container(name, self.front, last), **changes)
        self.site.want(pair)
        self.site.converge()
        return pair

    def move_out(self, pair: Pair) -> None:
        routes = [
            DefaultRoute(sandbox=pair.sandbox, gateway=ip_interface(address).ip) for address in self.front.addresses
        ]
        self.site.unwant(pair, Namespace(sandbox=pair.sandbox), *routes)
        self.site.converge()

    def to_gateway(self, network: str = "front") -> Ether:
        """Return the Ethernet header of a container's frame to its gateway."""
        return Ether(dst=self.macs[f"nd-{network}"])

    def to_host(self) -> Ether:
        """Return the Ethernet header of the neighbour's frame to the host."""
        return Ether(dst=self.macs["eth0"])


def is_flow(packet: Packet, sport: int, dport: int) -> bool:
    """Return whether a packet, or the packet quoted by an ICMP error, has these ports."""
    return any(kind in packet and (packet[kind].sport, packet[kind].dport) == (sport, dport) for kind in (TCP, UDP))


def never_arrives(sender: Tap, receiver: Tap, forged: Packet, honest: Packet, mark: bytes) -> None:
    """Send the forged frame, then the valid one, and assert that only the latter arrives.

    The valid frame ends with *mark*, the forged one with *mark* and an exclamation mark.  Frames keep their order, so
    the arrival of the valid frame shows that the forged one was dropped.
    """
    sender.send(forged / (mark + b"!"))
    sender.send(honest / mark)
    before = receiver.until(lambda packet: bytes(packet).rstrip(b"\0").endswith(mark))
    assert not [packet.summary() for packet in before if mark + b"!" in bytes(packet)]
