"""Temporary hosts and containers for netd-dns: namespaces held by descriptors alone, so nothing is left."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.message
from dns.message import Message
from dnslib import QTYPE, RR, A, DNSRecord

from netd.dns.client.dns_client import DnsClient
from netd.dns.event_loop import READ, Loop
from netd.dns.records import NetworkRecords, Upstream, View
from netd.host_protocol import Resolver
from netd.kernel.namespaces import libc, netns

SERVER = "127.0.0.11"
NOISE = float(os.environ.get("NETD_NOISE_SECONDS", "1.2"))
"""Seconds of each kind of noise."""
LIMIT = 60 + 4 * NOISE
"""The timeout of a scenario in seconds."""
WEB = NetworkRecords(
    "front-end",
    {"web": ("10.1.0.2",), "db": ("10.1.0.3", "fd00::3"), "many": tuple(f"10.1.1.{n}" for n in range(1, 61))},
    {"10.1.0.2": "web.front-end", "fd00::3": "db.front-end"},
    ("10.1.0.0/16", "fd00::/64"),
)
BACK = NetworkRecords("Back", {"web": ("10.2.0.9",), "cache": ("10.2.0.4",)}, {}, ("10.2.0.0/16",))


def new_namespace() -> int:
    """Return a descriptor of a new network namespace whose loopback is up."""

    def body() -> int:
        libc.unshare(libc.CLONE_NEWNET)
        with socket.socket() as sock:
            fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    return netns.in_new_thread(body)


def resolver_in(ns: int) -> Resolver:
    """Return the sockets that netd would open, here on port 53 itself, so that no redirect is needed."""
    udp = netns.socket_in(ns, socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((SERVER, 53))
    tcp = netns.socket_in(ns, socket.AF_INET, socket.SOCK_STREAM)
    tcp.bind((SERVER, 53))
    tcp.listen(64)
    return Resolver(udp, tcp, os.dup(ns))


class Container:
    """A DNS client in a namespace."""

    def __init__(self, name: str, ns: int) -> None:
        self.name = name
        self.ns = ns

    def udp(self, timeout: float = 5.0) -> socket.socket:
        sock = netns.socket_in(self.ns, socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(timeout)
        sock.connect((SERVER, 53))
        return sock

    def tcp(self, timeout: float = 5.0) -> socket.socket:
        sock = netns.socket_in(self.ns, socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect((SERVER, 53))
        return sock

    def ask(self, name: str, kind: str = "A", *, tcp: bool = False, wait: float = 8.0, **options: Any) -> Message:
        """Return the reply as dnspython reads it."""
        query = dns.message.make_query(name, kind, **options)
        with self.tcp(wait) if tcp else self.udp(wait) as sock:
            if tcp:
                sock.sendall(len(query.to_wire()).to_bytes(2) + query.to_wire())
                wire = read_frame(sock)
            else:
                sock.send(query.to_wire())
                wire = sock.recv(65535)
        reply = dns.message.from_wire(wire)
        assert query.is_response(reply), reply
        return reply

    def addresses(self, name: str, kind: str = "A", **options: Any) -> list[str]:
        return sorted(found(self.ask(name, kind, **options)))


def found(reply: Message) -> list[str]:
    return [item.to_text() for rrset in reply.answer for item in rrset]


def read_frame(sock: socket.socket) -> bytes:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
        more = sock.recv(65535)
        if not more:
            raise EOFError
        data += more
    return data[2:]


class DnsHost:
    """A host with netd-dns and containers."""

    def __init__(self, link: DnsClient, run: Path, host: int, new: Callable[[], int]) -> None:
        self.client = link
        self.run = run
        self.host = host
        self.new_namespace = new

    async def container(self, name: str, view: View) -> Container:
        container = Container(name, self.new_namespace())
        await self.client.open_sandbox(name, resolver_in(container.ns))
        self.client.set_view(name, view)
        await self.client.flush()
        return container

    def server_pid(self) -> int:
        return server_pid(self.run)


def server_pid(run: Path) -> int:
    """Return the pid of the last server that logged its start in *run*."""
    return int(re.findall(r"started: pid=(\d+)", (run / "dns.log").read_text())[-1])


def in_namespace(ns: int, main: Callable[[], Awaitable[None]]) -> None:
    """Run *main* in a new event loop in a thread of the namespace; its child processes are in it too."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT):
            await main()

    netns.run_in_fd(ns, lambda: asyncio.run(bounded()))


class Upstream53:
    """A resolver on UDP and TCP port 53 of an address, in a namespace; records its queries.

    ``answer`` gets the packet and returns the reply, or None for no reply.  ``probes`` are queries for the root, which
    only check whether the resolver replies.
    """

    def __init__(self, ns: int, address: str, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.probes: list[bytes] = []
        self.sources: list[int] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp = netns.socket_in(ns, family, socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = netns.socket_in(ns, family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, 53))
        self._tcp.listen()
        self._threads = [threading.Thread(target=self._serve_udp), threading.Thread(target=self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def names(self) -> list[str]:
        """Return the queried names in lower case: netd-dns randomizes the case in datagrams."""
        return [str(DNSRecord.parse(packet).q.qname).lower() for packet in self.asked]

    def _note(self, packet: bytes) -> None:
        (self.probes if packet[12:15] == b"\0\0\2" else self.asked).append(packet)

    def say(self, packet: bytes) -> None:
        """Send an additional packet to the last client."""
        self._udp.sendto(packet, ("127.0.0.1", self.sources[-1]))

    def close(self) -> None:
        for sock in (self._udp, self._tcp):
            with suppress(OSError):  # Shutting down an unconnected UDP socket fails, but wakes its reader.
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            packet, source = self._udp.recvfrom(65535)
            if not packet:
                return
            self._note(packet)
            self.sources.append(source[1])
            if (reply := self.answer(packet)) is not None:
                with suppress(BrokenPipeError):
                    self._udp.sendto(reply, source)

    def _serve_tcp(self) -> None:
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            with sock:
                packet = read_frame(sock)
                self._note(packet)
                if (reply := self.answer(packet)) is not None:
                    sock.sendall(len(reply).to_bytes(2) + reply)


def says(address: str, ttl: int = 60) -> Callable[[bytes], bytes]:
    """Answer every query with one A record."""

    def answer(packet: bytes) -> bytes:
        query = DNSRecord.parse(packet)
        reply = query.reply(aa=0)
        reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(address), ttl=ttl))
        return bytes(reply.pack())

    return answer


def fails(code: int) -> Callable[[bytes], bytes]:
    def answer(packet: bytes) -> bytes:
        reply = DNSRecord.parse(packet).reply(aa=0)
        reply.header.rcode = code
        return bytes(reply.pack())

    return answer


@contextmanager
def upstream(ns: int, address: str, answer: Callable[[bytes], bytes | None]) -> Iterator[Upstream53]:
    server = Upstream53(ns, address, answer)
    try:
        yield server
    finally:
        server.close()


def inside(*addresses: str) -> tuple[Upstream, ...]:
    return tuple(Upstream(address, inside=True) for address in addresses)


@contextmanager
def serving(loop: Loop) -> Iterator[None]:
    """Run *loop* in a thread."""
    wake, stop = socket.socketpair()
    loop.watch(wake.fileno(), READ, lambda events: loop.stop())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        stop.close()
        thread.join()
        loop.unwatch(wake.fileno())
        wake.close()
