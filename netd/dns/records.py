"""The records of networks and the views of sandboxes, as values.  Pure.

Records belong to networks and views to sandboxes, so that starting or stopping a container changes the records of its
networks only, however many sandboxes resolve names on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar("T")


_CAPITALS = {code: code | 0x20 for code in range(ord("A"), ord("Z") + 1)}


def lower(name: str) -> str:
    """Return *name* in lower case by the rules of DNS: ASCII letters only (RFC 4343)."""
    return name.lower() if name.isascii() else name.translate(_CAPITALS)


def fold(name: str) -> str:
    """Return *name* in the form for comparisons: lower case, without the final dot."""
    return lower(name).removesuffix(".")


def ancestors(name: str) -> Iterator[str]:
    """Yield the ancestors of *name*, the nearest first: of ``a.b.c``, ``b.c`` and ``c``."""
    at = name.find(".")
    while at >= 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)


class Service(NamedTuple):
    """``size`` consecutive ports of a container from ``port`` on; with size 0 the name exists without SRV records."""

    target: str
    """``web.<network>``, as in the PTR record."""
    port: int
    size: int


@dataclass(frozen=True, slots=True)
class NetworkRecords:
    """The names of one network."""

    name: str
    """The network's name; ``web`` on it is also found as ``web.<name>``."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folded name → addresses, IPv4 and IPv6 mixed: container names, aliases, short ids, hostnames.  ``*.app`` is a
    wildcard: it matches every name below ``app`` that has no entry."""
    pointers: Mapping[str, str] = field(default_factory=dict)
    """Address → target of its PTR record, ``web.<network>``, without a final dot."""
    subnets: tuple[str, ...] = ()
    """The network's subnets; reverse queries inside them are never forwarded."""
    services: Mapping[str, tuple[Service, ...]] = field(default_factory=dict)
    """``_web._tcp`` and ``_web._tcp.<name>`` → services for SRV queries; ``_tcp.<name>`` → services for SRV queries
    by port number, ``_80._tcp.<name>``."""
    ancestors: Counter[str] = field(init=False, compare=False, repr=False)
    """Ancestors of the names above → number of names below: they exist too (RFC 8020).  Computed."""
    zone: str = field(init=False, compare=False, repr=False)
    """The network's name, folded.  Computed."""

    def __post_init__(self) -> None:
        found = Counter(
            ancestor for entries in (self.names, self.services) for name in entries for ancestor in ancestors(name)
        )
        object.__setattr__(self, "ancestors", found)
        object.__setattr__(self, "zone", fold(self.name))


@dataclass(frozen=True, slots=True)
class Patch:
    """A change of a network's records; its size depends on the change only."""

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folded name → its new addresses; empty deletes the name."""
    pointers: Mapping[str, str] = field(default_factory=dict)
    """Address → name; "" deletes the PTR record."""
    services: Mapping[str, tuple[Service, ...]] = field(default_factory=dict)
    """Folded name → its new services; empty deletes the name."""

    def __bool__(self) -> bool:
        return bool(self.names or self.pointers or self.services)


class Upstream(NamedTuple):
    """An upstream server, queried on port 53."""

    address: str
    inside: bool = False
    """Query it from the container's network namespace (its own ``--dns``) and not from the host's."""


@dataclass(frozen=True, slots=True)
class View:
    """The names that one sandbox can resolve."""

    networks: tuple[str, ...] = ()
    """Ids of its networks in order of gateway priority; the first with a name supplies the whole answer."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Folded alias → name of the container; takes precedence over names, also as ``alias.network``."""
    upstreams: tuple[Upstream, ...] = ()
    """The sandbox's own upstream servers, in order; empty means those of the host at the time of the query."""
    forward: bool = True
    """False if all networks are internal: nothing is forwarded from the host; upstreams ``inside`` are queried."""
    single_labels: bool = True
    """False: A and AAAA queries for unknown names without a dot get an empty response and are not forwarded, as
    requested by an ``ndots`` option of the host's resolv.conf or of the container."""
    gateways: tuple[str, ...] = ()
    """Addresses of the host on the sandbox's default gateway network; those of ``host.docker.internal``."""
    domains: tuple[tuple[str, tuple[Upstream, ...]], ...] = ()
    """Folded domain → upstream servers for it and the names below it; the longest match applies."""


class MutableRecords:
    """A network's records, changed in place; the cost of a change does not depend on the number of records."""

    def __init__(self, records: NetworkRecords) -> None:
        self._names = dict(records.names)
        self._pointers = dict(records.pointers)
        self._services = dict(records.services)
        self.records = NetworkRecords(records.name, self._names, self._pointers, records.subnets, self._services)
        """The current records: ``apply`` changes them in place."""

    def apply(self, patch: Patch) -> None:
        self._count(patch.names, self._names)
        self._count(patch.services, self._services)
        _apply(self._names, patch.names)
        _apply(self._pointers, patch.pointers)
        _apply(self._services, patch.services)

    def _count(self, changes: Mapping[str, object], entries: Mapping[str, object]) -> None:
        """Update the counts of ancestors for *changes* of *entries*."""
        counts = self.records.ancestors
        for name in _dotted(changes):
            step = bool(changes[name]) - (name in entries)
            for ancestor in ancestors(name) if step else ():
                counts[ancestor] += step
                if not counts[ancestor]:
                    del counts[ancestor]


def _dotted(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if "." in name)


def _apply(entries: dict[str, T], changes: Mapping[str, T]) -> None:
    for key, value in changes.items():
        if value:
            entries[key] = value
        else:
            entries.pop(key, None)


def difference(old: NetworkRecords, new: NetworkRecords) -> Patch:
    """Return the patch from the names, pointers and services of *old* to those of *new*."""
    return Patch(
        _changes(old.names, new.names, ()),
        _changes(old.pointers, new.pointers, ""),
        _changes(old.services, new.services, ()),
    )


def _changes(old: Mapping[str, T], new: Mapping[str, T], deleted: T) -> Mapping[str, T]:
    changes = {key: value for key, value in new.items() if old.get(key) != value}
    changes.update((key, deleted) for key in old.keys() - new.keys())
    return changes
