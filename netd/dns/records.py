"""What the name server knows, as values: the records of a network, and what one sandbox sees of them.

Pure.  Records belong to networks and views to sandboxes, so that a container that comes or goes changes
one network's records however many others look at them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar("T")


_CAPITALS = {code: code | 0x20 for code in range(ord("A"), ord("Z") + 1)}


def lower(name: str) -> str:
    """Return *name* in lower case as DNS has it: of ASCII letters only (RFC 4343)."""
    return name.lower() if name.isascii() else name.translate(_CAPITALS)


def fold(name: str) -> str:
    """Return *name* as it is compared: without case and without the final dot."""
    return lower(name).removesuffix(".")


def names_above(name: str) -> Iterator[str]:
    """Yield the names that *name* is below: of ``a.b.c`` these are ``b.c`` and ``c``."""
    at = name.find(".")
    while at >= 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)


class Service(NamedTuple):
    """``size`` ports from ``port`` on of a container; with none of them the name exists and offers nothing."""

    target: str
    """``web.<network>``, as a reverse lookup gives it."""
    port: int
    size: int


@dataclass(frozen=True, slots=True)
class NetworkRecords:
    """The names of one network."""

    name: str
    """The network's own name; ``web`` on it is also found as ``web.<name>``."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folded name → addresses, IPv4 and IPv6 mixed: container names, aliases, short ids, hostnames.  ``*.app`` stands
    for every name below ``app`` that is not there itself."""
    pointers: Mapping[str, str] = field(default_factory=dict)
    """Address → the name that a reverse lookup gives, ``web.<network>``, without a final dot."""
    subnets: tuple[str, ...] = ()
    """The network's subnets: reverse lookups inside them are never asked elsewhere."""
    services: Mapping[str, tuple[Service, ...]] = field(default_factory=dict)
    """``_web._tcp`` and ``_web._tcp.<name>`` → what answers SRV; ``_tcp.<name>`` → the ports that can be asked for by
    number, as ``_80._tcp.<name>``."""
    above: Counter[str] = field(init=False, compare=False, repr=False)
    """Names below which there are names of ours, with how many: they exist too (RFC 8020).  Follows from the rest."""

    def __post_init__(self) -> None:
        above = Counter(one for held in (self.names, self.services) for name in held for one in names_above(name))
        object.__setattr__(self, "above", above)


@dataclass(frozen=True, slots=True)
class Patch:
    """What changed in a network's records; costs what the change is, not what the network holds."""

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folded name → all of its addresses from now on; none takes the name away."""
    pointers: Mapping[str, str] = field(default_factory=dict)
    """Address → name; "" takes the pointer away."""
    services: Mapping[str, tuple[Service, ...]] = field(default_factory=dict)
    """Folded name → all that it offers from now on; nothing takes the name away."""

    def __bool__(self) -> bool:
        return bool(self.names or self.pointers or self.services)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A resolver to ask for names that are not ours, on port 53."""

    address: str
    inside: bool = False
    """Ask from inside the container (its own ``--dns``) rather than from the host."""


@dataclass(frozen=True, slots=True)
class View:
    """What one sandbox can look up."""

    networks: tuple[str, ...] = ()
    """Ids of its networks in gateway order; the first that knows a name answers alone."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Folded alias → name of the container it stands for; tried before names, also as ``alias.network``."""
    upstreams: tuple[Upstream, ...] = ()
    """Its own resolvers, in order; none means the host's, as they are at the time of asking."""
    forward: bool = True
    """False on internal networks only: nothing is asked from the host; resolvers inside are still tried."""
    single_labels: bool = True
    """False keeps unknown names without a dot from being forwarded (A and AAAA are then empty answers), which is
    what an ``ndots`` option in the host's file or the container's asks for."""
    gateways: tuple[str, ...] = ()
    """Addresses of the host on the sandbox's way out: what ``host.docker.internal`` stands for."""
    domains: tuple[tuple[str, tuple[Upstream, ...]], ...] = ()
    """Folded domain → who is asked for it and all below it; the longest that fits counts."""


class MutableRecords:
    """A network's records that change in place: a change costs what it is, not what the network holds."""

    def __init__(self, records: NetworkRecords) -> None:
        self._names = dict(records.names)
        self._pointers = dict(records.pointers)
        self._services = dict(records.services)
        self.records = NetworkRecords(records.name, self._names, self._pointers, records.subnets, self._services)
        """As they are now and will be: it follows the changes."""

    def apply(self, patch: Patch) -> None:
        self._count(patch.names, self._names)
        self._count(patch.services, self._services)
        _apply(self._names, patch.names)
        _apply(self._pointers, patch.pointers)
        _apply(self._services, patch.services)

    def _count(self, changes: Mapping[str, object], held: Mapping[str, object]) -> None:
        """Note which names above others come and go with the changes."""
        above = self.records.above
        for name in _dotted(changes):
            step = bool(changes[name]) - (name in held)
            for one in names_above(name) if step else ():
                above[one] += step
                if not above[one]:
                    del above[one]


def _dotted(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if "." in name)


def _apply(held: dict[str, T], changes: Mapping[str, T]) -> None:
    for key, value in changes.items():
        if value:
            held[key] = value
        else:
            held.pop(key, None)


def difference(old: NetworkRecords, new: NetworkRecords) -> Patch:
    """Return the patch that makes the names, pointers and services of *old* those of *new*."""
    return Patch(
        _changes(old.names, new.names, ()),
        _changes(old.pointers, new.pointers, ""),
        _changes(old.services, new.services, ()),
    )


def _changes(old: Mapping[str, T], new: Mapping[str, T], gone: T) -> Mapping[str, T]:
    changes = {key: value for key, value in new.items() if old.get(key) != value}
    changes.update((key, gone) for key in old.keys() - new.keys())
    return changes
