"""A packet laboratory: temporary hosts, wires between them, taps, echo servers, and snapshots of a host's network.

A host is a network namespace held by a descriptor alone, so nothing is left even after a killed run, and any number of
runs can work in parallel.  Scapy builds and dissects packets; they are sent and received by sockets of the laboratory.
"""

from __future__ import annotations

import itertools
import json
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netd.kernel.namespaces import libc, netns

T = TypeVar("T")
ETH_P_ALL = 3
PATIENCE = 10.0
"""Seconds to wait for an expected packet."""
SILENCE = 0.3
"""Seconds to wait before concluding that no packet arrives."""


class Node:
    """A temporary host: a network namespace."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def run(self, body: Callable[[], T]) -> T:
        """Run *body* in this host's network namespace and return its result; sockets that it creates stay in it."""
        return netns.run_in_fd(self.fd, body)

    def argv(self, *argv: str) -> list[str]:
        """Return the command line that runs *argv* on this host; the process needs ``pass_fds=[node.fd]``."""
        return ["nsenter", f"--net=/proc/self/fd/{self.fd}", "--", *argv]

    def command(self, *argv: str, check: bool = True, stdin: str | None = None, also: tuple[int, ...] = ()) -> str:
        """Run a program on this host and return its output; *also* are further descriptors that it inherits."""
        done = subprocess.run(
            self.argv(*argv), capture_output=True, text=True, pass_fds=[self.fd, *also], input=stdin, timeout=30
        )
        assert not check or done.returncode == 0, f"{self}: {' '.join(argv)}: {done.stderr}"
        return done.stdout

    def ip(self, words: str, also: tuple[int, ...] = ()) -> str:
        return self.command("ip", *words.split(), also=also)

    def json(self, words: str) -> list[dict]:
        """Return the output of ``ip -j``, without the empty objects that it prints for filtered entries."""
        return [entry for entry in json.loads(self.ip(f"-j {words}") or "[]") if entry]

    def mac(self, link: str) -> str:
        return self.json(f"link show {link}")[0]["address"]

    def links(self) -> set[str]:
        return {link["ifname"] for link in self.json("link")}

    def addresses(self) -> set[str]:
        """Return the addresses of both families, without link-local ones."""
        found = [address for link in self.json("addr") for address in link["addr_info"] if address["scope"] != "link"]
        return {f"{address['local']}/{address['prefixlen']}" for address in found}

    def link_local(self, link: str) -> str:
        """Return a link's link-local IPv6 address."""
        found = [address for there in self.json(f"-6 addr show {link}") for address in there["addr_info"]]
        return next(address["local"] for address in found if address["scope"] == "link")

    def sysctl(self, name: str, value: str | None = None) -> str:
        """Return a sysctl of this host, such as ``net/ipv4/ip_forward``, after setting it to *value* if given."""
        path = Path("/proc/sys", name)
        if value is not None:
            self.run(lambda: path.write_text(value))
        return self.run(path.read_text).strip()

    def sysctls(self) -> dict[str, str]:
        """Return the sysctls of ``net.ipv[46].conf``, by path."""
        return self.run(lambda: dict(_parameters(Path("/proc/sys/net").glob("ipv[46]/conf/*"))))

    def nft(self, script: str) -> str:
        return self.command("nft", "-f", "-", stdin=script)

    def legacy(self) -> list[str]:
        """Return the chains and rules of the legacy tables of both families, in order, each with its family and table.

        Empty tables are omitted, so that they do not differ from missing ones.
        """
        found = []
        for family, program in ((4, "iptables-legacy-save"), (6, "ip6tables-legacy-save")):
            table = ""
            for line in self.command(program).splitlines():
                if line.startswith("*"):
                    table = line[1:]
                elif line.startswith((":", "-")) and " ACCEPT [" not in line:
                    found.append(f"{family} {table} {line.split(' [')[0] if line.startswith(':') else line}")
        return found

    def processes(self) -> list[int]:
        """Return the pids of processes whose main thread is in this namespace."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._holds(entry)]

    def _holds(self, process: Path) -> bool:
        try:
            return os.stat(process / "ns/net").st_ino == os.fstat(self.fd).st_ino
        except OSError:
            return False

    def snapshot(self) -> dict[str, object]:
        """Return the state of this host's network, for comparison with a later snapshot."""
        return {
            "links": sorted((link["ifname"], link.get("altnames", [])) for link in self.json("-d link")),
            "addresses": sorted(self.addresses()),
            "routes": sorted(map(json.dumps, self.json("route show table all"))),
            "rules": sorted(map(json.dumps, self.json("rule"))),
            "nftables": self.command("nft", "list", "ruleset"),
            "sysctls": self.sysctls(),
            "processes": sorted(self.processes()),
        }


def _parameters(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for parameter in itertools.chain.from_iterable(folder.iterdir() for folder in folders):
        try:
            yield str(parameter), parameter.read_text().strip()
        except OSError:
            continue  # A sysctl that is write-only or not set.


def mounts(below: Path) -> list[str]:
    """Return the mount points below a folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return sorted(where for line in lines if (where := line.split()[1]).startswith(f"{below}/"))


class Lab:
    """Creates hosts, wires, taps and servers; closing it removes all of them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._wires = itertools.count()

    def close(self) -> None:
        self._stack.close()

    def make_host(self, name: str) -> Node:
        """Create a host whose only link is ``lo``, up."""

        def body() -> int:
            libc.unshare(libc.CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        node = self._own(netns.in_new_thread(body), name)
        node.ip("link set lo up")
        return node

    def host_at(self, path: Path, name: str) -> Node:
        """Return the namespace mounted on *path*, such as a sandbox's, as a host."""
        return self._own(os.open(path, os.O_RDONLY | os.O_CLOEXEC), name)

    def _own(self, fd: int, name: str) -> Node:
        self._stack.callback(os.close, fd)
        return Node(fd, name)

    def wire(self, left: Node, right: Node, *subnets: str) -> str:
        """Connect two hosts by a veth pair, named ``eth<n>`` on both, and return that name.

        Their addresses are the first two of each subnet.
        """
        link = f"eth{next(self._wires)}"
        peer = f"type veth peer name {link} netns /proc/self/fd/{right.fd}"
        left.ip(f"link add {link} {peer}", also=(right.fd,))
        for number, node in enumerate((left, right), 1):
            # Without DAD the link-local address is usable at once; before that a host resolves no neighbour.
            node.command("sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0")
            node.ip(f"link set {link} up")
            for network in map(ip_network, subnets):
                node.ip(f"addr add {network[number]}/{network.prefixlen} dev {link} nodad")
        return link

    def wire_again(self, left: Node, right: Node, link: str, subnet: str) -> None:
        """Create a deleted wire again, named *link*, with the first two addresses of *subnet*, like :meth:`wire`."""
        network = ip_network(subnet)
        left.ip(f"link add {link} type veth peer name {link} netns /proc/self/fd/{right.fd}", also=(right.fd,))
        for number, node in enumerate((left, right), 1):
            node.ip(f"addr add {network[number]}/{network.prefixlen} dev {link}")
            node.ip(f"link set {link} up")

    def tap(self, node: Node, link: str) -> Tap:
        """Capture a link's packets from now on."""
        tap = Tap(node, link)
        self._stack.callback(tap.close)
        return tap

    def echo(self, node: Node, port: int, protocol: str = "tcp", address: str = "0.0.0.0") -> Echo:
        """Start a server on *node* that sends each client the client's source address; on "::" it serves IPv6 only."""
        server = Echo(node, port, protocol, address)
        self._stack.callback(server.close)
        return server


class Tap:
    """A packet socket on one link.  It queues frames from its creation on, so create it before sending."""

    def __init__(self, node: Node, link: str) -> None:
        self._socket = node.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        self._socket.bind((link, ETH_P_ALL))
        self._where = f"{node} {link}"
        self._mac = self._socket.getsockname()[4].hex(":")

    def close(self) -> None:
        self._socket.close()

    def send(self, packet: Packet) -> None:
        """Send a frame, from this link's MAC unless the frame has a source."""
        if "src" not in packet.fields:
            packet.src = self._mac
        self._socket.send(bytes(packet))

    def find(self, wanted: Callable[[Packet], bool], timeout: float = PATIENCE) -> Packet | None:
        """Return the first packet that *wanted* accepts, or None after *timeout* seconds."""
        return self._search(wanted, timeout)[0]

    def expect(self, wanted: Callable[[Packet], bool], timeout: float = PATIENCE) -> Packet:
        """Return the first packet that *wanted* accepts; fail with the packets seen if there is none."""
        found, seen = self._search(wanted, timeout)
        assert found is not None, f"no such packet at {self._where} in {timeout} s; seen: {seen}"
        return found

    def refuse(self, unwanted: Callable[[Packet], bool], timeout: float = SILENCE) -> None:
        """Fail if a packet that *unwanted* accepts arrives within *timeout* seconds."""
        found = self.find(unwanted, timeout)
        assert found is None, f"unexpected at {self._where}: {found.summary()}"

    def until(self, last: Callable[[Packet], bool], timeout: float = PATIENCE) -> list[Packet]:
        """Return the packets before the first one that *last* accepts; fail if it does not arrive."""
        before: list[Packet] = []
        self.expect(lambda packet: last(packet) or before.append(packet) is not None, timeout)
        return before

    def _search(self, wanted: Callable[[Packet], bool], timeout: float) -> tuple[Packet | None, list[str]]:
        """Search the queued packets, then those that arrive before the timeout."""
        deadline = time.monotonic() + timeout
        seen: list[str] = []
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0))
            try:
                packet = Ether(self._socket.recv(65536))
            except (TimeoutError, BlockingIOError):
                return None, seen
            if wanted(packet):
                return packet, seen
            seen.append(packet.summary())


class Echo:
    """A TCP or UDP server that sends every client the source address and port that the server sees."""

    def __init__(self, node: Node, port: int, protocol: str, address: str) -> None:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        self._socket = node.run(lambda: socket.socket(family(address), kind))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family(address) == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._socket.bind((address, port))
        self._answer = self._answer_udp
        if protocol == "tcp":
            self._socket.listen(64)
            self._answer = self._answer_tcp
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.close()
        self._thread.join()
        self._socket.close()
        self._stopped.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ, self._answer)
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    key.data()

    def _answer_tcp(self) -> None:
        client, (address, port, *_) = self._socket.accept()
        with client:
            client.sendall(f"{address} {port}".encode())

    def _answer_udp(self) -> None:
        _, asker = self._socket.recvfrom(2048)
        with suppress(OSError):  # The client is not reachable.
            self._socket.sendto(f"{asker[0]} {asker[1]}".encode(), asker)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def reach(
    node: Node, address: str, port: int, protocol: str = "tcp", timeout: float = PATIENCE, source: str = ""
) -> str | None:
    """Return the source address under which an echo server sees *node*, or None if the server is not reached.

    *source* is the address that the client binds to.
    """
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with node.run(lambda: socket.socket(family(address), kind)) as client:
        client.settimeout(timeout)
        if source:
            client.bind((source, 0))
        try:
            client.connect((address, port))
            client.send(b"who am I?")
            return client.recv(64).decode().split()[0]
        except OSError:
            return None


def unreachable(node: Node, address: str, port: int, protocol: str = "tcp", source: str = "") -> bool:
    """Return whether no server answers within ``SILENCE`` seconds."""
    return reach(node, address, port, protocol, SILENCE, source) is None


def all_unreachable(attempts: Iterable[tuple[Node, str, int, str, str]]) -> bool:
    """Return whether all *attempts*, tuples of ``unreachable``'s arguments, fail; they run in parallel."""
    wanted = list(attempts)
    with ThreadPoolExecutor(len(wanted)) as threads:
        return all(threads.map(lambda attempt: unreachable(*attempt), wanted))
