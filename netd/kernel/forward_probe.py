"""Probes of forwarding: a packet is sent as a container or a host outside would, and its arrival is observed.

Owns the links ``ndq-probe0`` and ``ndq-probe1``, which exist only during a probe.  Must not send to other hosts more
than one datagram, which the next router discards.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import struct
import time
from contextlib import ExitStack, suppress
from ipaddress import ip_interface

from netd.common.addresses import Address, Family
from netd.host_protocol import Probe
from netd.kernel import sysctl
from netd.kernel.firewall.forwarding.uplink import uplink
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Netlink, Request, attribute, nest, u8
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

_TIMEOUT = 0.5
"""Seconds to wait for the packet."""
_PAUSE = 0.02
_EVERY_PROTOCOL = 3
"""ETH_P_ALL of linux/if_ether.h."""
_RESET, _TTL = 4, 64
_SENT = 4
"""How often the first packet of a connection from outside is sent."""
_NETFILTER, _CONNTRACK_GET = 12, 0x101
_FAMILIES: dict[Family, socket.AddressFamily] = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOLS = {"tcp": 6, "udp": 17}
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_IP, _TUPLE_PROTO, _NUMBER, _SOURCE_PORT, _PORT = 1, 1, 2, 1, 2, 3
_ADDRESSES: dict[Family, tuple[int, int]] = {4: (1, 2), 6: (3, 4)}
_OUTSIDE, _INSIDE = "ndq-probe1", "ndq-probe0"
_MTU = 1500
_MAC = "02:6e:65:74:64:70"
_HOSTS: dict[Family, tuple[str, str]] = {
    4: ("192.0.2.2/30", "192.0.2.1"),
    6: ("2001:db8:0:1::2/126", "2001:db8:0:1::1"),
}
"""The address of the host on the probe's link, and that of the host outside which the probe simulates."""
_SOURCE_PORTS = range(40_000, 60_000)


def run(probe: Probe, sandboxes: SandboxNamespaces) -> bool | None:
    """Return whether the packet passed all forward rules; None if it cannot be sent here.

    Call it in the thread that owns *sandboxes*.
    """
    try:
        if probe.receiver:
            return _within(probe, sandboxes)
        if probe.sandbox:
            return _outgoing(probe, sandboxes)
        return _published(probe)
    except OSError as problem:
        if problem.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.EHOSTUNREACH):
            return None
        raise


def _within(probe: Probe, sandboxes: SandboxNamespaces) -> bool:
    family = _FAMILIES[_family(probe.destination)]
    with ExitStack() as stack:
        server = stack.enter_context(sandboxes.run_in(probe.receiver, lambda: socket.socket(family, socket.SOCK_DGRAM)))
        server.bind((str(probe.destination), 0))
        server.settimeout(_TIMEOUT)
        client = stack.enter_context(sandboxes.run_in(probe.sandbox, lambda: socket.socket(family, socket.SOCK_DGRAM)))
        client.bind((str(probe.source), 0))
        token = os.urandom(16)
        client.sendto(token, server.getsockname()[:2])
        with suppress(TimeoutError):
            return server.recv(64) == token
    return False


def _outgoing(probe: Probe, sandboxes: SandboxNamespaces) -> bool | None:
    family = _family(probe.destination)
    if not uplink(probe.destination):
        return None
    with sandboxes.run_in(probe.sandbox, lambda: socket.socket(_FAMILIES[family], socket.SOCK_DGRAM)) as client:
        client.bind((str(probe.source), 0))
        # One hop is this host: the next router discards the datagram.
        if family == 4:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)
        else:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 2)
        client.sendto(b"", (str(probe.destination), probe.port))
        source_port = client.getsockname()[1]
        return _is_tracked(family, "udp", probe.source, probe.destination, source_port, probe.port, _TIMEOUT)


def _published(probe: Probe) -> bool | None:
    """Send the first packet of a connection from a simulated host outside; it arrives by a link of its own."""
    family = _family(probe.destination)
    here, outside = (ip_interface(text) for text in _HOSTS[family])
    source_port = secrets.choice(_SOURCE_PORTS)  # An earlier probe's connection may still be tracked.
    with Rtnl() as host, ExitStack() as stack:
        host.talk(rtnl.new_veth_without_arp(_INSIDE, _OUTSIDE, _MAC, _MTU))
        stack.callback(host.talk, rtnl.delete_link(_OUTSIDE))
        inside, out = index_of(_INSIDE), index_of(_OUTSIDE)
        if inside is None or out is None:
            return None
        # Without duplicate address detection, the address is usable at once.
        sysctl.write_optional(f"net/ipv6/conf/{_INSIDE}/accept_dad", "0")
        # Answers end at the other link: the host must not forward them back.
        sysctl.write_optional(f"net/ipv6/conf/{_OUTSIDE}/disable_ipv6", "1")
        host.talk(rtnl.set_link(_OUTSIDE, up=True), rtnl.set_link(_INSIDE, up=True))
        host.talk(rtnl.add_address(inside, here))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)) as sender:
            sender.bind((_OUTSIDE, _EVERY_PROTOCOL))
            sender.setblocking(False)
            packet = _first_packet(family, (outside.ip, source_port), (here.ip, probe.port), probe.protocol)
            for _ in range(_SENT):  # The kernel may drop packets of a link that has just been set up.
                sender.send(packet)
                if _is_tracked(family, probe.protocol, outside.ip, here.ip, source_port, probe.port, _TIMEOUT / _SENT):
                    return True
                if _is_refused_by_container(sender, source_port):
                    return True
    return False


def _is_refused_by_container(sender: socket.socket, port: int) -> bool:
    """Return whether a TCP reset was forwarded to the simulated host: its TTL is less than that of the host's own."""
    with suppress(BlockingIOError):
        while frame := sender.recv(256):
            packet = frame[14:]
            ttl, segment = (packet[7], packet[40:]) if packet[0] >> 4 == 6 else (packet[8], packet[20:])
            if len(segment) >= 14 and segment[13] & _RESET and segment[2:4] == port.to_bytes(2) and ttl == _TTL - 1:
                return True
    return False


def _family(address: Address) -> Family:
    return 4 if address.version == 4 else 6


def _is_tracked(
    family: Family, protocol: str, source: Address, to: Address, source_port: int, port: int, timeout: float
) -> bool:
    """Return whether the connection is tracked within *timeout* seconds: a packet that a rule drops leaves no entry."""
    ends = (attribute(kind, end.packed) for kind, end in zip(_ADDRESSES[family], (source, to), strict=True))
    ports = (attribute(kind, struct.pack(">H", value)) for kind, value in ((_SOURCE_PORT, source_port), (_PORT, port)))
    protocol_part = nest(_TUPLE_PROTO, u8(_NUMBER, _PROTOCOLS[protocol]), *ports)
    header = struct.pack("=BBH", _FAMILIES[family], 0, 0)
    body = header + nest(_TUPLE_ORIG, nest(_TUPLE_IP, *ends), protocol_part)
    deadline = time.monotonic() + timeout
    with Netlink(_NETFILTER) as netlink:
        while True:
            try:
                return bool(netlink.get(Request(_CONNTRACK_GET, body)))
            except OSError as problem:
                if problem.errno != errno.ENOENT:
                    raise
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)


def _first_packet(family: Family, source_end: tuple[Address, int], end: tuple[Address, int], protocol: str) -> bytes:
    """Return a frame with a TCP SYN or an empty UDP datagram."""
    (source, source_port), (to, port) = source_end, end
    mac = bytes.fromhex(_MAC.replace(":", ""))
    number = _PROTOCOLS[protocol]
    if protocol == "tcp":
        segment = struct.pack(">HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 1024, 0, 0)
    else:
        segment = struct.pack(">HHHH", source_port, port, 8, 0)
    position = 16 if protocol == "tcp" else 6
    pseudo = (
        source.packed
        + to.packed
        + struct.pack(">IBBBB" if family == 6 else ">HBB", *_pseudo(family, len(segment), number))
    )
    checksum = struct.pack(">H", _checksum(pseudo + segment) or 0xFFFF)
    segment = segment[:position] + checksum + segment[position + 2 :]
    if family == 6:
        header = struct.pack(">IHBB", 6 << 28, len(segment), number, 64) + source.packed + to.packed
        return mac + mac + b"\x86\xdd" + header + segment
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0, 64, number, 0) + source.packed + to.packed
    header = header[:10] + struct.pack(">H", _checksum(header)) + header[12:]
    return mac + mac + b"\x08\x00" + header + segment


def _pseudo(family: Family, length: int, number: int) -> tuple[int, ...]:
    return (length, 0, 0, 0, number) if family == 6 else (length, 0, number)


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
