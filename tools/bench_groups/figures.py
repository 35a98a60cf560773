"""Names of the measured figures: unit, direction, the part of the page, and netd's target."""

from __future__ import annotations

from dataclasses import dataclass

MANY_PORTS = 500
CROWD = 40
STARTS = 50
GROWN = 200
CONTROL, NAMES, TRAFFIC, GROWTH = "Control plane", "Names", "Packets and connections", "Growth, bursts and memory"


@dataclass(frozen=True, slots=True)
class Figure:
    part: str
    is_rate: bool = False
    """A larger value is better."""
    target: float = 0
    """0: none."""


FIGURES = {
    "network create, ms": Figure(CONTROL, target=4),
    "network remove, ms": Figure(CONTROL, target=3),
    "connect, ms": Figure(CONTROL, target=4),
    "disconnect, ms": Figure(CONTROL, target=4),
    "create + start + exit (none), ms": Figure(CONTROL, target=20),
    "create + start + exit (bridge), ms": Figure(CONTROL, target=20),
    "remove (none), ms": Figure(CONTROL),
    "remove (bridge), ms": Figure(CONTROL),
    f"start with {MANY_PORTS} ports, ms": Figure(CONTROL, target=45),
    f"remove with {MANY_PORTS} ports, ms": Figure(CONTROL),
    "netctl network ls, ms": Figure(CONTROL, target=20),
    "container name, answers/s": Figure(NAMES, True, 240_000),
    "container name, p50, us": Figure(NAMES, target=18),
    "container name, p99, us": Figure(NAMES, target=90),
    "forwarded names, answers/s": Figure(NAMES, True, 40_000),
    "forwarded name, p50, us": Figure(NAMES),
    "forwarded name, p99, us": Figure(NAMES),
    f"container name during {STARTS} starts, answers/s": Figure(NAMES, True),
    f"container name beside {GROWN} containers, p50, us": Figure(NAMES),
    f"container name beside {GROWN} containers, p99, us": Figure(NAMES),
    f"container name beside {GROWN} containers, answers/s": Figure(NAMES, True),
    "TCP round trip, p50, us": Figure(TRAFFIC, target=5.1),
    "UDP round trip, p50, us": Figure(TRAFFIC),
    "packets/s": Figure(TRAFFIC, True),
    "bulk TCP, Gbit/s": Figure(TRAFFIC, True),
    "new connections/s": Figure(TRAFFIC, True),
    "new connections/s to 1 published port": Figure(TRAFFIC, True),
    "new connections/s to the last of 300 published ports": Figure(TRAFFIC, True),
    f"{STARTS} starts, 10 at a time, p95, ms": Figure(GROWTH, target=80),
    f"{STARTS} starts, 10 at a time, s": Figure(GROWTH),
    f"{CROWD} containers on one network, s": Figure(GROWTH, target=1.6),
    f"memory for {CROWD} containers, MB": Figure(GROWTH, target=33),
    f"memory for {MANY_PORTS} ports, MB": Figure(GROWTH, target=1),
    "start of the 10th container on a network, ms": Figure(GROWTH),
    f"start of the {GROWN}th container on a network, ms": Figure(GROWTH),
    f"network create beside {GROWN} networks, ms": Figure(GROWTH, target=6),
    f"connect beside {GROWN} networks, ms": Figure(GROWTH),
    f"restart of netd with {GROWN} networks and {CROWD} containers, s": Figure(GROWTH, target=2),
    f"restart of netd-runtime with {CROWD} containers, s": Figure(GROWTH),
}
