"""Facts: netd's kernel objects as values, and the steps from one state of the kernel to another.

Pure: no sockets, no clock, no logging.  A fact is one kernel object of netd; a state maps each fact's key to the fact,
so steps are set differences.  The firewall is separate: its content is a :class:`netd.portmap.rules.Ruleset`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from hashlib import blake2s
from typing import ClassVar, TypeAlias

from netd.common import mac
from netd.common.addresses import Address, Interface, Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A Linux bridge on the host.  ``owned`` is false for a bridge that netd did not create and never deletes."""

    rank: ClassVar[int] = 0
    name: str
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 address, IPv6 is disabled on the bridge."""
    mtu: int
    localnet: bool
    """Forward packets from 127.0.0.0/8 (``route_localnet``), which ports published on 127.0.0.1 need."""
    owned: bool = True
    egress_barrier: bool = True
    """The BPF program of ``kernel/links/egress_barrier.py`` is on its egress.  Not checked if ``owned`` is false."""
    faults: tuple[str, ...] = ()
    """Routes, sysctls and attributes that differ from what follows from the other fields; none in a desired fact."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("bridge", self.name)

    @property
    def mac(self) -> str:
        """A MAC that is the same when the bridge is created again, so that containers' neighbour entries stay valid.

        The kernel does not change an explicitly set MAC when ports are added and removed.
        """
        first = self.addresses[0] if self.addresses else None
        if first is not None and first.version == 4:
            return mac.generate(first.ip.packed)
        return mac.generate(blake2s(f"{self.name} {first}".encode(), digest_size=4).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A network namespace kept alive by a bind mount under ``RUN/netns``; ``lo`` is up in it."""

    rank: ClassVar[int] = 0
    sandbox: str
    sysctls: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("namespace", self.sandbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A further bridge of a network, connected to *bridge* by a veth pair; it has no address."""

    rank: ClassVar[int] = 1
    name: str
    bridge: str
    mtu: int
    isolated: bool = False
    """The connecting pair is isolated, so isolated ports of the two bridges do not reach one another."""
    faults: tuple[str, ...] = ()
    """As ``Bridge.faults``."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("segment", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A veth pair: *host* is a port of *bridge*, *inside* is the interface in the sandbox's namespace."""

    rank: ClassVar[int] = 2
    host: str
    bridge: str
    alias: str
    """Alternative name of the host side (``<container>.<network>``); "" for none."""
    sandbox: str
    inside: str
    mac: str
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 address, IPv6 is disabled on the interface."""
    mtu: int
    isolated: bool = False
    """Bridge port isolation: isolated ports do not reach one another."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Sysctls of the inside interface, with IFNAME in place of its name: ``net.ipv4.conf.IFNAME.forwarding``."""
    antispoof: bool = True
    """Drop packets from other MACs or addresses, router advertisements and DHCP server messages."""
    announce: bool = field(default=True, compare=False)
    """Announce the address when the link is set up, which every other port receives; not compared."""
    faults: tuple[str, ...] = ()
    """As ``Bridge.faults``, of the host side."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("pair", self.host)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route of a sandbox through one of its interfaces; ``via`` None: the destination is on-link."""

    destination: Subnet
    via: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginLink:
    """A link that a plugin created on the host and netd moved into a sandbox; removal moves it back to the host."""

    rank: ClassVar[int] = 2
    source: str
    """The link's name on the host."""
    sandbox: str
    inside: str
    mac: str
    """"" keeps the link's own MAC."""
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 address, IPv6 is disabled on the interface."""
    routes: tuple[StaticRoute, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("moved", self.source)


class MacvlanMode(StrEnum):
    """Modes of ip-link(8): links on one parent reach one another (bridge), or only other hosts (private)."""

    BRIDGE = "bridge"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan:
    """A macvlan link in the sandbox's namespace on *parent*, a link of the host."""

    rank: ClassVar[int] = 2
    parent: str
    mode: MacvlanMode
    sandbox: str
    inside: str
    mac: str
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 address, IPv6 is disabled on the interface."""
    mtu: int
    sysctls: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """In the form of ``Pair.sysctls``; set when the link is created, not compared when the kernel is observed."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("macvlan", self.sandbox, self.inside)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """The host's own macvlan link on *parent*, because the host does not reach macvlan links through the parent."""

    rank: ClassVar[int] = 1
    name: str
    parent: str
    mac: str
    addresses: tuple[Interface, ...]
    """Each /32 or /128.  Without any, the host sends from another link's address; without IPv6, IPv6 is disabled."""
    mtu: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("hostlink", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """A route of the host through a ``HostLink``."""

    rank: ClassVar[int] = 3
    link: str
    destination: Subnet

    @property
    def key(self) -> tuple[str, ...]:
        return ("hostroute", self.link, str(self.destination))


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRoute:
    """The sandbox's default route; there is at most one of each family."""

    rank: ClassVar[int] = 3
    sandbox: str
    gateway: Address
    interface: str = field(default="", compare=False)
    """The sandbox's interface of the gateway's network; needed if the gateway is a link-local address."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("route", self.sandbox, f"ipv{self.gateway.version}")


Fact: TypeAlias = Bridge | Segment | HostLink | Namespace | Pair | Macvlan | PluginLink | DefaultRoute | HostRoute
State: TypeAlias = Mapping[tuple[str, ...], Fact]


class Verb(Enum):
    ADD = "add"
    SET = "set"
    DEL = "del"


@dataclass(frozen=True, slots=True)
class Step:
    verb: Verb
    fact: Fact
    previous: Fact | None = None
    """For SET: the fact that *fact* replaces."""


def state(facts: Iterable[Fact]) -> State:
    return {fact.key: fact for fact in facts}


def plan(want: State, have: State) -> tuple[Step, ...]:
    """Return the steps from *have* to *want*; none if they are equal.

    Removals come first, because link names are unique.  Parents are created before their children and deleted after
    them.
    """
    removals = [Step(Verb.DEL, fact) for key, fact in have.items() if key not in want]
    updates = [
        Step(Verb.SET, fact, have[key]) if key in have else Step(Verb.ADD, fact)
        for key, fact in want.items()
        if have.get(key) != fact
    ]
    removals.sort(key=lambda step: step.fact.rank, reverse=True)
    updates.sort(key=lambda step: step.fact.rank)
    return (*removals, *updates)
