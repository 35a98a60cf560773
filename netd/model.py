"""The records of netd: networks, and sandboxes with their endpoints and published ports.

Immutable values.  A *spec* is a request, a *record* is the stored result.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import msgspec

from netd.api import PREDEFINED_NETWORKS, EndpointSettings
from netd.common.addresses import Address, Family, Interface, Subnet
from netd.common.ids import short
from netd.portmap import port_spec


class PoolSpec(msgspec.Struct, frozen=True):
    """A requested pool; netd chooses a subnet or gateway that is None."""

    subnet: Subnet | None = None
    """With the address 0.0.0.0 or ::, only the prefix length is requested."""
    gateway: Address | None = None
    ip_range: Subnet | None = None
    auxiliary: dict[str, Address] = {}


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A requested network."""

    name: str
    driver: str = "bridge"
    ipv4: bool = True
    ipv6: bool = False
    pools: tuple[PoolSpec, ...] = ()
    """Requested subnets; netd chooses a subnet for each enabled family that has none here."""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    config_only: bool = False
    """The network is only a template for other networks."""
    config_from: str = ""
    """The name of the config-only network that is its template; "" for none."""
    without_gateway: tuple[Family, ...] = ()
    """Families in which the driver needs no gateway address."""


class Pool(msgspec.Struct, frozen=True):
    """A subnet of a network with its gateway and ranges."""

    subnet: Subnet
    gateway: Address | None = None
    ip_range: Subnet | None = None
    """The range from which addresses are chosen; requested addresses may be anywhere in the subnet."""
    auxiliary: dict[str, Address] = {}
    id: str = ""
    """The id that an IPAM driver gave the pool; "" with netd's own IPAM."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    created: str
    driver: str
    ipv4: bool = True
    ipv6: bool = False
    pools: tuple[Pool, ...] = ()
    """In the order of Docker's JSON."""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    mtu: int = 0
    """MTU of the parent link, else the smallest of the links with default routes; used if no MTU option is set.

    0: none was found, and links get 1500.
    """
    segments: int = 1
    """Number of bridges of the network."""
    template: NetworkSpec | None = None
    """Template settings; set only for config-only networks."""
    config_from: str = ""
    """The name of the config-only network from which it was created; "" for none."""
    remote: bool = False
    """The driver is a plugin in another process."""
    adopted: bool = False
    """The bridge existed before the network and is not deleted with it."""

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED_NETWORKS

    def pools_of(self, family: Family) -> tuple[Pool, ...]:
        return tuple(pool for pool in self.pools if pool.subnet.version == family)

    def pool(self, family: Family) -> Pool | None:
        """Return the family's first pool."""
        return next((pool for pool in self.pools if pool.subnet.version == family), None)


class Route(msgspec.Struct, frozen=True):
    """A route that a plugin requests in the sandbox; ``via`` None: the destination is on-link."""

    destination: Subnet
    via: Address | None = None


class JoinInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a plugin to ``NetworkDriver.Join``."""

    source: str
    """The name that the plugin's link has on the host."""
    routes: tuple[Route, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox's connection to a network."""

    id: str
    network: str
    """The network's id."""
    settings: EndpointSettings = msgspec.field(name="asked")
    interface: str = ""
    """Interface name in the sandbox; "" if the driver creates no interface."""
    mac: str = ""
    address: IPv4Interface | None = None
    address6: IPv6Interface | None = None
    gateway: IPv4Address | None = None
    """Gateway of a default route through this network; None on internal networks."""
    gateway6: IPv6Address | None = None
    segment: int = 0
    """Number of the bridge segment to which the endpoint is attached; 0 is the network's first bridge."""
    announce: bool = True
    """Whether neighbours may know or look for the address, so that it must be announced to them."""
    join_info: JoinInfo | None = msgspec.field(default=None, name="joined")
    """Set if the network's driver is a plugin."""

    @property
    def addresses(self) -> tuple[Interface, ...]:
        return tuple(address for address in (self.address, self.address6) if address is not None)

    def address_of(self, family: Family) -> Interface | None:
        return self.address if family == 4 else self.address6

    def gateway_of(self, family: Family) -> Address | None:
        return self.gateway if family == 4 else self.gateway6

    def has_default_route(self, family: Family) -> bool:
        """Return whether the endpoint has a gateway or a default route of its plugin."""
        routes = self.join_info.routes if self.join_info else ()
        return self.gateway_of(family) is not None or any(
            route.destination.version == family and route.destination.prefixlen == 0 for route in routes
        )


class PortRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to publish ``count`` container ports from ``target`` on.

    ``port`` 0: netd chooses the host ports.  ``last`` > ``port``: netd chooses a host port in that range, and ``count``
    is 1.  Otherwise the host ports are ``count`` consecutive ports from ``port`` on.
    """

    protocol: str
    target: int
    count: int = 1
    port: int = 0
    last: int = 0
    addresses: tuple[Address | None, ...] = (None,)
    """Host addresses, at each of which the same port is published; None: the network's default addresses."""
    allow: tuple[Subnet, ...] = ()
    """Subnets whose hosts may use the ports; empty: all."""

    @property
    def fixed(self) -> bool:
        """Whether the host ports are requested by number."""
        return 0 < self.port == self.last


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` host ports from ``port`` on that are translated to the sandbox's ports from ``target`` on."""

    protocol: str
    address: Address
    """Host address; the target is the sandbox's address of the same family."""
    port: int
    """0 on routed networks, where clients use the sandbox's own address and port."""
    target: int
    count: int = 1
    allow: tuple[Subnet, ...] = ()
    """Subnets whose hosts may use the ports; empty: all."""

    @property
    def last(self) -> int:
        return self.port + self.count - 1


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and MACs reserved for a container, running or stopped."""

    id: str
    """The container's id."""
    name: str
    addresses: dict[str, tuple[Address, ...]]
    """By network id."""
    macs: dict[str, str] = {}
    """By network id."""


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """All the networking of one container."""

    id: str
    name: str
    hostname: str
    domainname: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    """In the order of connection."""
    on_host: bool = False
    """The sandbox shares the host's network namespace."""
    exposed: tuple[str, ...] = ()
    """``80/tcp``, ``7000-7499/udp`` …, in order, each port once."""
    port_requests: tuple[PortRequest, ...] = msgspec.field(default=(), name="wishes")
    publications: tuple[Publication, ...] = ()
    """The results of the port requests; empty while no network publishes ports."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    """(name, address or ``host-gateway``)."""
    links: dict[str, str] = {}
    """Alias → container name."""
    sysctls: dict[str, str] = {}
    labels: dict[str, str] = {}

    def exposed_spans(self) -> Iterator[tuple[str, int, int]]:
        """Yield protocol, first and last port of the exposed ports, which include the published ones."""
        for text in self.exposed:
            ports, _, protocol = text.partition("/")
            yield protocol, *port_spec.bounds(ports)

    def endpoint_on(self, network: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.network == network), None)

    def names(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the sandbox's DNS names on the endpoint's network, each once: name, aliases, short id, hostname."""
        candidates = (self.name, *(endpoint.settings.aliases or ()), short(self.id), self.hostname)
        return tuple(dict.fromkeys(name for name in candidates if name))
