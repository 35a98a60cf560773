"""``EngineContext``: the host, the store, netd-dns, the drivers and the state, for all actions of the engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from netd.common.config import Settings
from netd.common.events import Bus, event
from netd.common.store.store import Store
from netd.container_files import HostFiles
from netd.dns.client.dns_client import DnsClient
from netd.dns.records import Upstream, View, fold
from netd.drivers import Driver
from netd.drivers.registry import Drivers
from netd.engine.background import BackgroundJobs
from netd.engine.desired_state import DesiredState
from netd.engine.locks import Locks
from netd.engine.state.routes import by_priority, gateways
from netd.engine.state.sandbox_request import parse_links
from netd.engine.state.state import State
from netd.engine.views import files
from netd.engine.views.dns_records import NetworkNames
from netd.host_files import HostFileReader
from netd.host_protocol import Host
from netd.ipam.drivers import IpamDrivers
from netd.ipam.pools import DEFAULT, SubnetSource
from netd.model import Network, Sandbox
from netd.portmap.ports import Ports
from netd.remote.plugins import Plugins

NETWORK, SANDBOX, META, ORPHAN, RESERVATION = "network", "sandbox", "meta", "orphan", "reservation"
"""The kinds of documents in the store."""


@dataclass(slots=True)
class NameServers:
    """The configured name servers; replaced when the configuration is reloaded."""

    servers: tuple[str, ...]
    domains: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext:
    settings: Settings
    name_servers: NameServers
    host: Host
    store: Store
    dns: DnsClient
    drivers: Drivers
    host_files: HostFileReader
    plugins: Plugins
    ports: Ports
    subnet_sources: tuple[SubnetSource, ...] = DEFAULT
    """Address pools from which netd chooses subnets."""
    ipam: IpamDrivers = field(default_factory=IpamDrivers)
    bus: Bus = field(default_factory=Bus)
    state: State = field(default_factory=State)
    locks: Locks = field(default_factory=Locks)
    background: BackgroundJobs = field(default_factory=BackgroundJobs)
    network_names: dict[str, NetworkNames] = field(default_factory=dict)
    """DNS names by network id; networks without pools have no entry, unless their driver is a plugin."""
    pending_networks: set[str] = field(default_factory=set)
    """Ids of networks that a plugin is creating or deleting; no endpoint can be added to them."""
    pending_endpoints: Counter[str] = field(default_factory=Counter)
    """Number of endpoints that plugins are creating, by network id."""
    segment_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a bridge segment is added to a network."""
    counts: Counter[str] = field(default_factory=Counter)
    """What has happened since the start, for metrics: repairs, repair_steps."""
    reported_conflicts: set[object] = field(default_factory=set)
    """Route conflicts that were reported and have not ended."""
    unsettled: set[str] = field(default_factory=set)
    """Ids of sandboxes whose last change is not complete or failed; repair clears it."""
    resolvers_missing: set[str] = field(default_factory=set)
    """Ids of sandboxes whose DNS redirect or sockets could not be restored; the repair loop retries."""
    repair_needed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the kernel may differ from the desired state; the repair loop clears it."""
    stray_check_needed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when connections may have been opened while the firewall rules were missing; the repair clears it."""

    @property
    def desired_state(self) -> DesiredState:
        return DesiredState(self.state, self.drivers, respect=self.settings.host_firewall == "respect")

    def driver(self, network: Network) -> Driver:
        return self.drivers.get(network.driver)

    def publish_event(self, network: Network, action: str, **attributes: str) -> None:
        """Publish a network event; connect and disconnect events have the container's id as attribute."""
        attributes |= {"name": network.name, "type": network.driver}
        self.bus.publish(event("network", action, network.id, attributes))

    def dns_view(self, sandbox: Sandbox, host: HostFiles | None = None) -> View:
        """Return the networks, links and upstream servers that netd-dns uses for queries of the sandbox.

        *host* are the host's files if they were read just now.
        """
        ordered = by_priority(self.state, sandbox)
        link_texts = [link for endpoint, _ in ordered for link in endpoint.settings.links or ()]
        upstreams = tuple(Upstream(server, inside=True) for server in sandbox.dns or self.name_servers.servers)
        return View(
            networks=tuple(network.id for _, network in ordered if network.id in self.network_names),
            links={fold(alias): name for alias, name in {**sandbox.links, **parse_links(link_texts)}.items()},
            upstreams=upstreams,
            forward=any(not network.internal for _, network in ordered),
            single_labels=not files.asks_for_dots(sandbox, host or self.host_files.read()),
            gateways=tuple(str(address) for address in gateways(self.state, sandbox)),
            domains=() if sandbox.dns else self._domains(),
        )

    def _domains(self) -> tuple[tuple[str, tuple[Upstream, ...]], ...]:
        """Return the configured upstream servers by domain; not used for containers with their own name servers."""
        domains = self.name_servers.domains.items()
        return tuple((fold(domain), tuple(map(Upstream, servers))) for domain, servers in domains)
