"""The JSON between netd and a runtime: Docker's networking objects and the sandbox calls.

Field names in JSON are Docker's.  Only types are validated here.  ``""`` is an unset address, and lists and maps may be
``null``, because clients send complete objects with nulls.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from netd.common.digits import Int64


class IPAMConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    ipv4_address: str = msgspec.field(default="", name="IPv4Address")
    ipv6_address: str = msgspec.field(default="", name="IPv6Address")
    link_local_ips: list[str] | None = msgspec.field(default=None, name="LinkLocalIPs")


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``Networks`` (responses) or ``EndpointsConfig`` (requests).

    IPAMConfig, Links, Aliases, MacAddress, DriverOpts and GwPriority are configuration.  The other fields are
    operational: ignored in requests, empty while the container is not running.
    """

    ipam_config: IPAMConfig | None = msgspec.field(default=None, name="IPAMConfig")
    links: list[str] | None = msgspec.field(default=None, name="Links")
    aliases: list[str] | None = msgspec.field(default=None, name="Aliases")
    mac_address: str = msgspec.field(default="", name="MacAddress")
    driver_opts: dict[str, str] | None = msgspec.field(default=None, name="DriverOpts")
    gw_priority: Int64 = msgspec.field(default=0, name="GwPriority")
    network_id: str = msgspec.field(default="", name="NetworkID")
    endpoint_id: str = msgspec.field(default="", name="EndpointID")
    gateway: str = msgspec.field(default="", name="Gateway")
    ip_address: str = msgspec.field(default="", name="IPAddress")
    ip_prefix_len: int = msgspec.field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = msgspec.field(default="", name="IPv6Gateway")
    global_ipv6_address: str = msgspec.field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = msgspec.field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = msgspec.field(default=None, name="DNSNames")

    def requested(self) -> EndpointSettings:
        """Return the configuration without the operational fields, which netd sets."""
        return EndpointSettings(
            ipam_config=self.ipam_config,
            links=self.links,
            aliases=self.aliases,
            mac_address=self.mac_address,
            driver_opts=self.driver_opts,
            gw_priority=self.gw_priority,
        )


class PortBinding(msgspec.Struct, frozen=True):
    host_ip: str = msgspec.field(default="", name="HostIp")
    host_port: str = msgspec.field(default="", name="HostPort")
    allow: list[str] | msgspec.UnsetType | None = msgspec.field(default=msgspec.UNSET, name="Allow")
    """Extension of netd: subnets (``192.0.2.0/24``) from which the port is reachable; unset or empty: all."""


PortBindings: TypeAlias = dict[str, list[PortBinding] | None]
"""``80/tcp`` … → host addresses and ports.

An empty list or null: in requests, netd chooses the host port; in responses, the port is exposed and not published.
"""


class SandboxRequest(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``POST /netd/v1/sandboxes``: all the networking of one container; field names as in Docker's create body."""

    id: str
    """The container's id, 64 hexadecimal digits; also the sandbox's id."""
    name: str
    hostname: str = ""
    domainname: str = ""
    network_mode: str = ""
    """"" or "default" (bridge), "host", "none", or a network's name or id.

    The only network if ``networks`` is empty; else connected first if ``networks`` contains it, and ignored otherwise.
    """
    networks: dict[str, EndpointSettings] | None = None
    exposed_ports: list[str] | None = None
    """``80/tcp`` …"""
    port_bindings: PortBindings | None = None
    publish_all_ports: bool = False
    dns: list[str] | None = None
    dns_search: list[str] | None = None
    dns_options: list[str] | None = None
    extra_hosts: list[str] | None = None
    links: list[str] | None = None
    sysctls: dict[str, str] | None = None
    """Sysctls ``net.*``, set in the new namespace."""
    labels: dict[str, str] | None = None
    netns: str = ""
    """Path of an unused network namespace, which may belong to another user namespace; "": netd creates one."""


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Docker's ``NetworkSettings`` of a running container."""

    sandbox_id: str = msgspec.field(default="", name="SandboxID")
    sandbox_key: str = msgspec.field(default="", name="SandboxKey")
    ports: PortBindings = msgspec.field(default_factory=dict, name="Ports")
    networks: dict[str, EndpointSettings] = msgspec.field(default_factory=dict, name="Networks")


class SandboxView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A sandbox for the runtime: the namespace, the contents of the container's files, and the settings."""

    id: str
    name: str
    netns: str | None
    """Path of the configured network namespace; null if the container shares the host's."""
    resolv_conf: str
    hosts: str
    network_settings: SandboxSettings


class PortsRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """``POST`` and ``DELETE /netd/v1/sandboxes/{id}/ports``: publish and unpublish ports of a running container.

    In ``DELETE``, an empty host address or port matches any.
    """

    port_bindings: PortBindings | None = None
    exposed_ports: list[str] | None = None
    """In ``DELETE``: the ports that stay exposed even if they are not published; null: all exposed ports."""


class ReservationRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """``PUT /netd/v1/reservations/<container>``: addresses reserved for the container, running or stopped."""

    name: str = ""
    networks: dict[str, IPAMConfig] | None = None
    """Reserved addresses by network name or id."""
    macs: dict[str, str] | None = None
    """MACs that the container was given, by network name or id; no other container gets one that netd derives."""


class ReservationView(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    name: str
    networks: dict[str, IPAMConfig]


class RenameRequest(msgspec.Struct, frozen=True, rename="pascal"):
    name: str


class ConnectRequest(msgspec.Struct, frozen=True, rename="pascal"):
    container: str = ""
    endpoint_config: EndpointSettings | None = None


class DisconnectRequest(msgspec.Struct, frozen=True, rename="pascal"):
    container: str = ""
    force: bool = False


PREDEFINED_NETWORKS = ("bridge", "host", "none")
NETWORK_DRIVERS = ("bridge", "host", "macvlan", "null")
"""Names of netd's own network drivers; packages and plugins may add others."""


class DroppedView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Traffic that netd's rules admit and a rule of another program drops."""

    traffic: str
    """"outgoing", "published" or "same network"."""
    family: int
    """4 or 6."""
    network: str
    """The name of the network's bridge."""
    chain: str
    reason: str
    remedy: str
    """A shell command that permits the traffic."""


class ProbeView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What became of a packet."""

    traffic: str
    source: str
    destination: str
    arrived: bool | None = None
    """None: it cannot be sent from here."""


class DoctorView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What prevents traffic of containers."""

    dropped: list[DroppedView] = []
    probes: list[ProbeView] = []


class SystemView(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The status of netd."""

    warnings: list[str] = []
    """One sentence per fault."""
    descriptors: int = 0
    descriptor_limit: int = 0
    dropped: list[str] = []
    """One sentence for each chain of another program that drops traffic which netd's rules admit."""
