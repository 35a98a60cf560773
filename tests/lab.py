"""A packet laboratory: throwaway hosts, wires between them, taps, echo servers, and what a host looks like.

A host is a network namespace known only by a descriptor, so nothing is left even when a run is killed,
and any number of runs go side by side.  Scapy builds and dissects packets; our own sockets carry them.
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
PATIENCE = 2.0
"""Seconds to wait for a packet that should come."""
SILENCE = 0.3
"""Seconds to wait for one that should not."""


class Node:
    """A throwaway host, or any network namespace seen as one."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def run(self, body: Callable[[], T]) -> T:
        """Return what *body* returns, run in this host's network namespace; its sockets stay here."""
        return netns.run_in_fd(self.fd, body)

    def argv(self, *argv: str) -> list[str]:
        """Return the command line that runs *argv* here; the process needs ``pass_fds=[node.fd]``."""
        return ["nsenter", f"--net=/proc/self/fd/{self.fd}", "--", *argv]

    def command(self, *argv: str, check: bool = True, stdin: str | None = None, also: tuple[int, ...] = ()) -> str:
        """Run a program here and return what it prints; *also* are further descriptors that it needs."""
        done = subprocess.run(
            self.argv(*argv), capture_output=True, text=True, pass_fds=[self.fd, *also], input=stdin, timeout=30
        )
        assert not check or done.returncode == 0, f"{self}: {' '.join(argv)}: {done.stderr}"
        return done.stdout

    def ip(self, words: str, also: tuple[int, ...] = ()) -> str:
        return self.command("ip", *words.split(), also=also)

    def json(self, words: str) -> list[dict]:
        """Return what ``ip -j`` tells, without the empty objects it puts in place of others."""
        return [entry for entry in json.loads(self.ip(f"-j {words}") or "[]") if entry]

    def mac(self, link: str) -> str:
        return self.json(f"link show {link}")[0]["address"]

    def links(self) -> set[str]:
        return {link["ifname"] for link in self.json("link")}

    def addresses(self) -> set[str]:
        """Return those of both families but for IPv6's own of every link."""
        found = [address for link in self.json("addr") for address in link["addr_info"] if address["scope"] != "link"]
        return {f"{address['local']}/{address['prefixlen']}" for address in found}

    def link_local(self, link: str) -> str:
        """Return a link's own IPv6 address."""
        found = [address for there in self.json(f"-6 addr show {link}") for address in there["addr_info"]]
        return next(address["local"] for address in found if address["scope"] == "link")

    def sysctl(self, name: str, value: str | None = None) -> str:
        """Return a parameter of this host, named ``net/ipv4/ip_forward``, after setting it if a value is given."""
        path = Path("/proc/sys", name)
        if value is not None:
            self.run(lambda: path.write_text(value))
        return self.run(path.read_text).strip()

    def sysctls(self) -> dict[str, str]:
        """Return what is set for all links, and for each."""
        return self.run(lambda: dict(_parameters(Path("/proc/sys/net").glob("ipv[46]/conf/*"))))

    def nft(self, script: str) -> str:
        return self.command("nft", "-f", "-", stdin=script)

    def legacy(self) -> list[str]:
        """Return what the legacy tables of both families hold, in their order, each line with its family and table.

        A table that is empty is as one that is not there.
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
        """Return the processes whose main thread is here."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._holds(entry)]

    def _holds(self, process: Path) -> bool:
        try:
            return os.stat(process / "ns/net").st_ino == os.fstat(self.fd).st_ino
        except OSError:
            return False

    def snapshot(self) -> dict[str, object]:
        """Return what this host's network looks like, to be compared with a later one."""
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
            continue  # only to be written, or not set


def mounts(below: Path) -> list[str]:
    """Return the mount points below a folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return sorted(where for line in lines if (where := line.split()[1]).startswith(f"{below}/"))


class Lab:
    """Makes hosts, wires, taps and servers; everything goes when it is closed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._wires = itertools.count()

    def close(self) -> None:
        self._stack.close()

    def make_host(self, name: str) -> Node:
        """Make a host with nothing but ``lo``, up."""

        def body() -> int:
            libc.unshare(libc.CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        node = self._own(netns.in_new_thread(body), name)
        node.ip("link set lo up")
        return node

    def host_at(self, path: Path, name: str) -> Node:
        """Return the namespace mounted on *path*, a sandbox's for one, as a host."""
        return self._own(os.open(path, os.O_RDONLY | os.O_CLOEXEC), name)

    def _own(self, fd: int, name: str) -> Node:
        self._stack.callback(os.close, fd)
        return Node(fd, name)

    def wire(self, left: Node, right: Node, *subnets: str) -> str:
        """Join two hosts by a cable, ``eth<n>`` at both, and return its name.

        Their addresses are the first two of each subnet.
        """
        link = f"eth{next(self._wires)}"
        peer = f"type veth peer name {link} netns /proc/self/fd/{right.fd}"
        left.ip(f"link add {link} {peer}", also=(right.fd,))
        for number, node in enumerate((left, right), 1):
            # Its link-local address is good at once: until then a host asks for no neighbour on behalf of others.
            node.command("sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0")
            node.ip(f"link set {link} up")
            for network in map(ip_network, subnets):
                node.ip(f"addr add {network[number]}/{network.prefixlen} dev {link} nodad")
        return link

    def wire_again(self, left: Node, right: Node, link: str, subnet: str) -> None:
        """Join two hosts by a cable of that name at both, as ``wire`` did, where one was cut."""
        network = ip_network(subnet)
        left.ip(f"link add {link} type veth peer name {link} netns /proc/self/fd/{right.fd}", also=(right.fd,))
        for number, node in enumerate((left, right), 1):
            node.ip(f"addr add {network[number]}/{network.prefixlen} dev {link}")
            node.ip(f"link set {link} up")

    def tap(self, node: Node, link: str) -> Tap:
        """Listen on a link from now on."""
        tap = Tap(node, link)
        self._stack.callback(tap.close)
        return tap

    def echo(self, node: Node, port: int, protocol: str = "tcp", address: str = "0.0.0.0") -> Echo:
        """Start a server on *node* that tells each client the address it came from; with "::" it has IPv6 only."""
        server = Echo(node, port, protocol, address)
        self._stack.callback(server.close)
        return server


class Tap:
    """A raw socket on one link.  Frames queue from the moment it exists, so open it first."""

    def __init__(self, node: Node, link: str) -> None:
        self._socket = node.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        self._socket.bind((link, ETH_P_ALL))
        self._where = f"{node} {link}"
        self._mac = self._socket.getsockname()[4].hex(":")

    def close(self) -> None:
        self._socket.close()

    def send(self, packet: Packet) -> None:
        """Send a frame; it comes from this link's own MAC unless it says otherwise."""
        if "src" not in packet.fields:
            packet.src = self._mac
        self._socket.send(bytes(packet))

    def find(self, wanted: Callable[[Packet], bool], timeout: float = PATIENCE) -> Packet | None:
        """Return the first packet that is wanted, or None when none came in time."""
        return self._search(wanted, timeout)[0]

    def expect(self, wanted: Callable[[Packet], bool], timeout: float = PATIENCE) -> Packet:
        """The same, but fails with what was seen instead."""
        found, seen = self._search(wanted, timeout)
        assert found is not None, f"no such packet at {self._where} in {timeout} s; seen: {seen}"
        return found

    def refuse(self, unwanted: Callable[[Packet], bool], timeout: float = SILENCE) -> None:
        """Fail if such a packet comes."""
        found = self.find(unwanted, timeout)
        assert found is None, f"unexpected at {self._where}: {found.summary()}"

    def until(self, last: Callable[[Packet], bool], timeout: float = PATIENCE) -> list[Packet]:
        """Return what came before the packet that is waited for; fails when that does not come."""
        before: list[Packet] = []
        self.expect(lambda packet: last(packet) or before.append(packet) is not None, timeout)
        return before

    def _search(self, wanted: Callable[[Packet], bool], timeout: float) -> tuple[Packet | None, list[str]]:
        """Look at all that has come already, and at what comes until the time is over."""
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
    """A TCP or UDP server that answers every client with the client's own address as it sees it, then its port."""

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
        with suppress(OSError):  # Somebody to whom there is no way.
            self._socket.sendto(f"{asker[0]} {asker[1]}".encode(), asker)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def reach(
    node: Node, address: str, port: int, protocol: str = "tcp", timeout: float = PATIENCE, source: str = ""
) -> str | None:
    """Return the address under which an echo server sees *node*, or None when it cannot be reached.

    *source* is the address of *node* to go from.
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
    """Whether nothing answers there: a shorter wait than ``reach`` has, for what should fail."""
    return reach(node, address, port, protocol, SILENCE, source) is None


def all_unreachable(attempts: Iterable[tuple[Node, str, int, str, str]]) -> bool:
    """The same for many, given as the arguments of ``unreachable``, in one wait."""
    wanted = list(attempts)
    with ThreadPoolExecutor(len(wanted)) as threads:
        return all(threads.map(lambda attempt: unreachable(*attempt), wanted))
