"""What the kernel should hold, as values, and the steps from what it holds to that.

Pure: no sockets, no clock, no logging.  A fact is one kernel object of ours; a state maps each
fact's key to the fact, so "what must change" is set arithmetic.  The firewall is not here: its
whole content is one :class:`netd.portmap.rules.Ruleset`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import ClassVar, TypeAlias

from netd.common.addresses import Address, Interface, Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A Linux bridge on the host.  ``owned`` is false for one that somebody else made: used, never deleted."""

    rank: ClassVar[int] = 0
    name: str
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 one the bridge has no IPv6 at all."""
    mtu: int
    localnet: bool
    """Let packets from 127.0.0.0/8 leave by it (``route_localnet``): the host's way to ports published on 127.0.0.1."""
    owned: bool = True
    egress_barrier: bool = True
    """Its egress has the BPF program of ``kernel/links/egress_barrier.py``: all owned bridges, no others."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("bridge", self.name)


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
    """A further bridge, joined to *bridge* by a veth pair: what is a port of either is on one network.

    It has no address of its own.
    """

    rank: ClassVar[int] = 1
    name: str
    bridge: str
    mtu: int
    isolated: bool = False
    """Isolated ports of either bridge do not reach those of the other."""

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
    """Alternative name of the host side, so that people see whose it is; "" for none."""
    sandbox: str
    inside: str
    mac: str
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 one the interface has no IPv6 at all."""
    mtu: int
    isolated: bool = False
    """Bridge port isolation: isolated ports do not reach one another."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Of the inside, as people write them, with IFNAME for its name: ``net.ipv4.conf.IFNAME.forwarding``."""
    antispoof: bool = True
    """Let through only what comes from this MAC and these addresses, and nothing that only routers say."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("pair", self.host)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route of a sandbox by one of its interfaces; ``via`` None: what it leads to is at the other end of the link."""

    destination: Subnet
    via: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginLink:
    """A link that somebody else made on the host, moved into a sandbox; it goes back when the fact goes."""

    rank: ClassVar[int] = 2
    source: str
    """Its name on the host, before and after."""
    sandbox: str
    inside: str
    mac: str
    """"" leaves it the one that it has."""
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 one the interface has no IPv6 at all."""
    routes: tuple[StaticRoute, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("moved", self.source)


class MacvlanMode(StrEnum):
    """Whom links on one parent reach: one another too, or only what is beyond the parent."""

    BRIDGE = "bridge"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan:
    """A link in the sandbox's namespace that is a host of its own on the network that *parent*, on the host, is on."""

    rank: ClassVar[int] = 2
    parent: str
    mode: MacvlanMode
    sandbox: str
    inside: str
    mac: str
    addresses: tuple[Interface, ...]
    """At most one of each family, IPv4 first.  Without an IPv6 one the interface has no IPv6 at all."""
    mtu: int
    sysctls: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """As those of a pair; set when the link is made, and not watched."""

    @property
    def key(self) -> tuple[str, ...]:
        return ("macvlan", self.sandbox, self.inside)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """The host's own macvlan link on *parent*: by it the host reaches containers' links there, not by the parent."""

    rank: ClassVar[int] = 1
    name: str
    parent: str
    mac: str
    addresses: tuple[Interface, ...]
    """Single ones.  Without any the host goes by the address it has elsewhere; without an IPv6 one it has no IPv6."""
    mtu: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("hostlink", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """A route of the host by a link of its own."""

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
    """For SET: what is there now."""


def state(facts: Iterable[Fact]) -> State:
    return {fact.key: fact for fact in facts}


def plan(want: State, have: State) -> tuple[Step, ...]:
    """Return the steps from *have* to *want*; empty means converged.

    Parents come up before children and go down after them; removals come first, because the
    names of links are exclusive.
    """
    drops = [Step(Verb.DEL, fact) for key, fact in have.items() if key not in want]
    puts = [
        Step(Verb.SET, fact, have[key]) if key in have else Step(Verb.ADD, fact)
        for key, fact in want.items()
        if have.get(key) != fact
    ]
    drops.sort(key=lambda step: step.fact.rank, reverse=True)
    puts.sort(key=lambda step: step.fact.rank)
    return (*drops, *puts)
