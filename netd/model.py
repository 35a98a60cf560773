"""What netd knows: networks, and sandboxes with their endpoints and published ports.

Values only.  A *spec* is what was asked for, a *record* is what is true and stored.  Records are replaced, never
changed; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import msgspec

from netd.api import EndpointSettings
from netd.common.addresses import Address, Family, Interface, Subnet
from netd.common.ids import short

PREDEFINED = ("bridge", "host", "none")


class PoolSpec(msgspec.Struct, frozen=True):
    """A subnet as somebody asks for it; None leaves the choice to netd."""

    subnet: Subnet | None = None
    """With the address 0.0.0.0 or :: it only says how large the subnet should be."""
    gateway: Address | None = None
    ip_range: Subnet | None = None
    auxiliary: dict[str, Address] = {}


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A network as somebody asks for it."""

    name: str
    driver: str = "bridge"
    ipv4: bool = True
    ipv6: bool = False
    pools: tuple[PoolSpec, ...] = ()
    """What is asked for by subnet; a family that is on and not among them gets one of netd's choice."""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    config_only: bool = False
    """It is only a template for others."""
    config_from: str = ""
    """The name of the template that it follows."""
    without_gateway: tuple[Family, ...] = ()
    """Families of which the driver wants no address kept for a gateway."""


class Pool(msgspec.Struct, frozen=True):
    """Addresses of a network, all of one family."""

    subnet: Subnet
    gateway: Address | None = None
    ip_range: Subnet | None = None
    """Where addresses are chosen from; asked for, they may be anywhere in the subnet."""
    auxiliary: dict[str, Address] = {}
    id: str = ""
    """What another IPAM driver calls it; "" for netd's own."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    created: str
    driver: str
    ipv4: bool = True
    ipv6: bool = False
    pools: tuple[Pool, ...] = ()
    """In the order in which they are shown."""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    mtu: int = 0
    """What its links get when its options say nothing, by the host's ways out; 0 is the ordinary one."""
    segments: int = 1
    """How many devices of the host its endpoints are spread over."""
    template: NetworkSpec | None = None
    """What networks get that follow this one, which is nothing but that; None for all that are networks."""
    config_from: str = ""
    """The name of the template that it was made by."""
    remote: bool = False
    """Its driver is a plugin in another process."""
    adopted: bool = False
    """Its device on the host was there before it, and stays when it goes."""

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED

    def pools_of(self, family: Family) -> tuple[Pool, ...]:
        return tuple(pool for pool in self.pools if pool.subnet.version == family)

    def pool(self, family: Family) -> Pool | None:
        """Return the family's first pool."""
        return next((pool for pool in self.pools if pool.subnet.version == family), None)


class Route(msgspec.Struct, frozen=True):
    """A route that a driver wants inside; ``via`` None: its destination is at the other end of the link."""

    destination: Subnet
    via: Address | None = None


class JoinInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver in another process made for an endpoint."""

    source: str
    """Its link, by its name on the host."""
    routes: tuple[Route, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox's place on a network."""

    id: str
    network: str
    """The network's id."""
    settings: EndpointSettings = msgspec.field(name="asked")
    interface: str = ""
    """Its name inside the sandbox; "" where the driver makes none."""
    mac: str = ""
    address: IPv4Interface | None = None
    address6: IPv6Interface | None = None
    gateway: IPv4Address | None = None
    """Where a default route by way of this network leads; None on internal networks."""
    gateway6: IPv6Address | None = None
    segment: int = 0
    """Which of the network's devices it is on."""
    join_info: JoinInfo | None = msgspec.field(default=None, name="joined")
    """On remote networks."""

    @property
    def addresses(self) -> tuple[Interface, ...]:
        return tuple(one for one in (self.address, self.address6) if one is not None)

    def address_of(self, family: Family) -> Interface | None:
        return self.address if family == 4 else self.address6

    def gateway_of(self, family: Family) -> Address | None:
        return self.gateway if family == 4 else self.gateway6

    def has_default_route(self, family: Family) -> bool:
        """Tell whether a default route can lead by way of this endpoint."""
        routes = self.join_info.routes if self.join_info else ()
        return self.gateway_of(family) is not None or any(
            one.destination.version == family and one.destination.prefixlen == 0 for one in routes
        )


class PortRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` container ports from ``target`` on that are to be published on the host.

    ``port`` 0 leaves the host port to netd, ``last`` > ``port`` leaves it to netd within that range
    (``count`` is 1 then); else they are ``port`` and those that follow it.
    """

    protocol: str
    target: int
    count: int = 1
    port: int = 0
    last: int = 0
    addresses: tuple[Address | None, ...] = (None,)
    """Addresses of the host, on all of which the same port is taken; None is the network's default."""
    allow: tuple[Subnet, ...] = ()
    """Who may come; empty is everybody."""

    @property
    def fixed(self) -> bool:
        """Whether the host ports are asked for by number, and netd has no choice."""
        return 0 < self.port == self.last


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` host ports from ``port`` on lead to the sandbox's ports from ``target`` on."""

    protocol: str
    address: Address
    """Of the host; it leads to the sandbox's address of the same family."""
    port: int
    """0 where the way out is a routed network: reached at the sandbox's own address, by its own port."""
    target: int
    count: int = 1
    allow: tuple[Subnet, ...] = ()
    """Who may come; empty is everybody."""

    @property
    def last(self) -> int:
        return self.port + self.count - 1


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses that belong to a container also while it is stopped."""

    id: str
    """The container's."""
    name: str
    addresses: dict[str, tuple[Address, ...]]
    """By the ids of the networks."""


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """All the networking of one container."""

    id: str
    name: str
    hostname: str
    domainname: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    """In the order of joining."""
    on_host: bool = False
    """It shares the host's network namespace."""
    exposed: tuple[str, ...] = ()
    """``80/tcp``, ``7000-7499/udp`` …, in order, each port once."""
    port_requests: tuple[PortRequest, ...] = msgspec.field(default=(), name="wishes")
    publications: tuple[Publication, ...] = ()
    """What came of the wishes; empty while no network gives a way to the host."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    """(name, address or ``host-gateway``)."""
    links: dict[str, str] = {}
    """Alias → name of the container that it stands for."""
    sysctls: dict[str, str] = {}
    labels: dict[str, str] = {}

    def exposed_spans(self) -> Iterator[tuple[str, int, int]]:
        """Yield protocol, first and last port of what is exposed or published."""
        for text in self.exposed:
            ports, _, protocol = text.partition("/")
            first, _, last = ports.partition("-")
            yield protocol, int(first), int(last or first)

    def endpoint_on(self, network: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.network == network), None)

    def names(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return what it is called on the endpoint's network: name, aliases, short id, hostname; each once."""
        every = (self.name, *(endpoint.settings.aliases or ()), short(self.id), self.hostname)
        return tuple(dict.fromkeys(name for name in every if name))
