"""The topology in which the tables are tested: a host, its networks and containers, a neighbour; and the attempts.

Created once for all cells.  *web* and *pal* are on ``front``, *shop* on ``mall``, *vault* on the internal ``deep``.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from netd.common.addresses import FAMILIES, Family
from netd.facts import Pair
from tests.kernel.conftest import OUTSIDE, OUTSIDE6, UPLINK, UPLINK6, Site, port
from tests.lab import PATIENCE, Lab, Node, family
from tests.matrix.tables import Cell, Outcome

EVERY = {4: "0.0.0.0", 6: "::"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
UPLINKS = {4: UPLINK, 6: UPLINK6}
OUTSIDES = {4: OUTSIDE, 6: OUTSIDE6}
PROTOCOLS = ("tcp", "udp")
PORTS = {"every address": 8080, "one address": 8081, "loopback": 8082}
INTERNAL_PORTS = {"every address": 8090, "loopback": 8091}
OPEN, UNPUBLISHED = 80, 81
SILENCE = 0.15
"""Seconds to wait before concluding that no reply arrives; a reply takes a hundredth of this time."""
GATEWAYS = {
    "front": ("172.18.0.1", "fd00:18::1"),
    "mall": ("172.20.0.1", "fd00:20::1"),
    "deep": ("172.21.0.1", "fd00:21::1"),
}
_SETTINGS = {
    # br_netfilter off, as without Docker on the host; its effects are covered by tests/kernel/test_packets.py.
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    # Refusals of udp are ICMP errors, which the kernel limits to one per second.
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
}


class Topology:
    def __init__(self, lab: Lab, run_dir: Path, backend: str) -> None:
        self.site = Site(lab, run_dir, backend)
        self.site.machine.run(_set_up)
        bridges = {
            name: self.site.network(name, f"{four}/16", f"{six}/64", internal=name == "deep")
            for name, (four, six) in GATEWAYS.items()
        }
        self.web = self.site.container("web", bridges["front"], 2)
        self.pal = self.site.container("pal", bridges["front"], 3)
        self.shop = self.site.container("shop", bridges["mall"], 2)
        self.vault = self.site.container("vault", bridges["deep"], 2, route=False)
        self.wanderer = self.site.container("wander", bridges["deep"], 3)
        self.site.converge()
        self._serve()
        self._publish()
        for wide in ("172.16.0.0/12", "fd00::/16"):
            self.site.outside.ip(f"route add {wide} via {UPLINKS[6 if ':' in wide else 4]}")

    def close(self) -> None:
        self.site.close()

    def _serve(self) -> None:
        inside = {name: self.site.inside(name) for name in ("web", "vault")}
        for protocol in PROTOCOLS:
            for every in EVERY.values():
                self.site.lab.echo(self.site.outside, OPEN, protocol, every)
                for node in inside.values():
                    self.site.lab.echo(node, OPEN, protocol, every)
                    self.site.lab.echo(node, UNPUBLISHED, protocol, every)

    def _publish(self) -> None:
        wanted = []
        for protocol in PROTOCOLS:
            for version in FAMILIES:
                places = {"every address": EVERY, "one address": UPLINKS, "loopback": LOOPBACK}
                for place, number in PORTS.items():
                    wanted.append(port(number, self.web, OPEN, address=places[place][version], protocol=protocol))
                for place, number in INTERNAL_PORTS.items():
                    wanted.append(port(number, self.vault, OPEN, address=places[place][version], protocol=protocol))
        self.site.publish(*wanted)

    # attempts

    def attempt(self, cell: Cell) -> Outcome:
        """Return the outcome; the client's address and gateways' addresses are distinguished."""
        node, own = self._client(cell)
        to, number = self._target(cell)
        seen = _ask(
            node, to, number, cell.protocol, PATIENCE if cell.must in (Outcome.OWN, Outcome.GATEWAY) else SILENCE
        )
        if isinstance(seen, Outcome):
            return seen
        server = "deep" if cell.table == "internal" or cell.to == "an internal network" else "front"
        gateway = GATEWAYS[server][cell.family == 6]
        assert seen in (own, gateway), f"{cell}: the server sees {seen}"
        return Outcome.GATEWAY if seen == gateway else Outcome.OWN

    def _client(self, cell: Cell) -> tuple[Node, str]:
        site, four = self.site, cell.family == 4
        pairs: dict[str, Pair] = {
            "a container of the same network": self.pal,
            "a container of another network": self.shop,
            "the container itself": self.web,
            "an internal network": self.vault,
            "an internal network, by a route of its own": self.wanderer,
        }
        if (pair := pairs.get(cell.client)) is not None:
            return site.inside(pair.sandbox), address(pair, cell.family)
        if cell.client == "another host":
            return site.outside, OUTSIDE if four else OUTSIDE6
        return site.machine, UPLINKS[cell.family]

    def _target(self, cell: Cell) -> tuple[str, int]:
        if cell.table != "direct":
            at = LOOPBACK if cell.client.endswith(("127.0.0.1", "::1")) else UPLINKS
            return at[cell.family], (PORTS if cell.table == "published" else INTERNAL_PORTS)[cell.to]
        return {
            "a port that is not published": (address(self.web, cell.family), UNPUBLISHED),
            "a published port": (address(self.web, cell.family), OPEN),
            "an internal network": (address(self.vault, cell.family), OPEN),
            "another host": (OUTSIDES[cell.family], OPEN),
        }[cell.to]


def address(pair: Pair, version: Family) -> str:
    return next(str(address.ip) for address in pair.addresses if address.version == version)


def _set_up() -> None:
    for name, value in _SETTINGS.items():
        setting = Path("/proc/sys/net") / name
        if setting.exists():
            setting.write_text(value)


def _ask(node: Node, to: str, number: int, protocol: str, patience: float) -> Outcome | str:
    """Return the source address that the server sees, or the way in which the attempt fails."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with node.run(lambda: socket.socket(family(to), kind)) as client:
        client.settimeout(patience)
        try:
            client.connect((to, number))
            client.send(b"who am I?")
            return client.recv(64).decode().split()[0]
        except TimeoutError:
            return Outcome.SILENT
        except ConnectionRefusedError:
            return Outcome.REFUSED
        except OSError as problem:
            if problem.errno != errno.ENETUNREACH:
                raise
            return Outcome.NO_ROUTE
