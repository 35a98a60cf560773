"""The topology of a host as values, with field names in the manner of Docker's JSON.  Pure.

Labels, and options of plugins, are left out, because they may hold secrets, and the page that shows the topology may be
visible to all users of the machine.
"""

from __future__ import annotations

import msgspec

from netd.topology.reach import ReachRule


class PoolView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    subnet: str
    gateway: str = ""
    range: str = ""
    used: int = 0
    free: int = 0


class WayOut(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """How packets of one family leave the host from a network."""

    family: int
    kind: str
    """"masquerade", "source" (a fixed address of the host), "routed" (no translation), "parent", "host" or "none"."""
    source: str = ""
    """The address for source NAT; "" for the outgoing link's."""
    links: list[str] = []
    """The links of the host's default routes, or the parent."""


class NetworkNode(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    id: str
    name: str
    driver: str
    internal: bool = False
    isolated: bool = False
    """Containers of the network do not reach each other directly."""
    predefined: bool = False
    device: str = ""
    """The bridge, or another link of the network, on the host."""
    mtu: int = 0
    options: dict[str, str] = {}
    """The driver's options; empty for plugins."""
    pools: list[PoolView] = []
    ways_out: list[WayOut] = []
    zone: str = ""
    """The key of the network in ``TopologyView.reach``."""


class EndpointNode(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    id: str
    network: str
    """The network's id."""
    interface: str = ""
    link: str = ""
    """The link of the host whose counters are those of the endpoint."""
    mac: str = ""
    addresses: list[str] = []
    """With prefix lengths."""
    gateways: list[str] = []
    aliases: list[str] = []


class PortNode(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``count`` published ports: from ``port`` on at a host address, or at the container's own address if it is 0."""

    protocol: str
    address: str
    port: int
    target: int
    count: int = 1
    allow: list[str] = []
    """Subnets whose hosts may use the ports; empty: all."""


class ContainerNode(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    id: str
    name: str
    state: str = ""
    image: str = ""
    """State and image are set by netctl only: netd has the containers with a process and does not know their states."""
    project: str = ""
    service: str = ""
    """Of compose."""
    on_host: bool = False
    over_budget: bool = False
    """New connections of the container are dropped, because it has too many."""
    endpoints: list[EndpointNode] = []
    ports: list[PortNode] = []
    egress: dict[str, str] = {}
    """The network of the default route, by family ("4", "6")."""


class TopologyView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``GET /netd/v1/topology``."""

    host: str
    version: str
    time: float
    """Seconds since 1970."""
    uplinks: dict[str, list[str]] = {}
    """The links of the host's default routes by family."""
    networks: list[NetworkNode] = []
    containers: list[ContainerNode] = []
    reach: dict[str, dict[str, list[ReachRule]]] = {}
    """What clients of one zone reach in another: ``host``, ``outside``, and the zones of networks; ``same``: between
    containers of one network."""
    traffic: dict[str, list[int]] = {}
    """Counters by endpoint id: bytes, packets and drops that the container received, then those that it sent."""
