"""Allocation of subnets that the request does not specify: from the first source with a free block, the lowest one.

The cost does not depend on the number of networks: the end of the fully used part of each source is cached.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network

from netd.common.addresses import Family, Subnet, inside
from netd.common.digits import unsigned
from netd.common.errors import BadRequest

_LONGEST_DEFAULT_LIKE_PREFIX = 7
"""Routes with this prefix length or a shorter one (such as a VPN's 0.0.0.0/1) are treated as default routes: they do
not show that an address is in use."""


@dataclass(frozen=True, slots=True)
class SubnetSource:
    """A range of addresses that is divided into subnets with prefix length ``size``."""

    base: Subnet
    size: int

    def __str__(self) -> str:
        return f"{self.base} in /{self.size}"


DOCKER_SOURCES = (
    SubnetSource(IPv4Network("172.17.0.0/16"), 16),
    SubnetSource(IPv4Network("172.18.0.0/16"), 16),
    SubnetSource(IPv4Network("172.19.0.0/16"), 16),
    SubnetSource(IPv4Network("172.20.0.0/14"), 16),
    SubnetSource(IPv4Network("172.24.0.0/14"), 16),
    SubnetSource(IPv4Network("172.28.0.0/14"), 16),
    SubnetSource(IPv4Network("192.168.0.0/16"), 20),
)
ADDITIONAL_SOURCES = (
    SubnetSource(IPv4Network("10.208.0.0/12"), 24),
    SubnetSource(IPv4Network("10.224.0.0/12"), 24),
    SubnetSource(IPv4Network("198.18.0.0/15"), 24),
)
"""Ranges without the usual defaults of clouds, clusters and VPNs (10.0, 10.8, 10.42, 10.88, 10.96, 10.100, 10.244).
The last one, reserved for benchmarking (RFC 2544), is free even on hosts with routes to all private addresses."""
DEFAULT = (*DOCKER_SOURCES, *ADDITIONAL_SOURCES)


def local_source(identity: str) -> SubnetSource:
    """Return the unique local IPv6 range of an installation: ``fd``, a 40-bit hash of *identity*, a /64 per network."""
    low = int.from_bytes(sha256(identity.encode()).digest()[:8], "big") & ((1 << 40) - 1)
    return SubnetSource(IPv6Network((0xFD << 120 | low << 80, 48)), 64)


def of_family(sources: Iterable[SubnetSource], family: Family) -> tuple[SubnetSource, ...]:
    """Return the sources of one family."""
    return tuple(source for source in sources if source.base.version == family)


def has_size(sources: Iterable[SubnetSource], size: int) -> bool:
    """Return True if a subnet with prefix length *size* fits into one of the sources."""
    return any(source.base.prefixlen <= size <= source.base.max_prefixlen for source in sources)


class AddressRanges:
    """Ranges of addresses to avoid, of both families; given in any order, overlaps are merged."""

    def __init__(self, subnets: Iterable[Subnet] = ()) -> None:
        self._firsts: dict[int, list[int]] = {4: [], 6: []}
        self._lasts: dict[int, list[int]] = {4: [], 6: []}
        ranges = ((net.version, int(net.network_address), int(net.broadcast_address)) for net in subnets)
        for version, first, last in sorted(ranges):
            firsts, lasts = self._firsts[version], self._lasts[version]
            if lasts and first <= lasts[-1]:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)

    def last_within(self, version: int, first: int, last: int) -> int | None:
        """Return the last address of the highest range that overlaps *first* to *last*; None if there is none."""
        at = bisect_right(self._firsts[version], last) - 1
        return self._lasts[version][at] if at >= 0 and self._lasts[version][at] >= first else None


def routed_ranges(routed: Iterable[Subnet]) -> AddressRanges:
    """Return the ranges of the host's routes, without default routes and their halves."""
    return AddressRanges(subnet for subnet in routed if subnet.prefixlen > _LONGEST_DEFAULT_LIKE_PREFIX)


@dataclass(frozen=True, slots=True)
class UsedSubnet:
    """The subnet of a network; ``last`` is its last address."""

    subnet: Subnet
    owner: str
    last: int


class UsedSubnets:
    """The subnets of networks, which do not overlap, and where the search for a free one starts."""

    def __init__(self) -> None:
        self._firsts: dict[int, list[int]] = {4: [], 6: []}
        self._used: dict[int, list[UsedSubnet]] = {4: [], 6: []}
        self._full: dict[tuple[Subnet, int], int] = {}
        """(Range, prefix length) → address below which all blocks are used by networks."""

    def put(self, subnet: Subnet, owner: str) -> None:
        first = int(subnet.network_address)
        at = bisect_right(self._firsts[subnet.version], first)
        self._firsts[subnet.version].insert(at, first)
        self._used[subnet.version].insert(at, UsedSubnet(subnet, owner, int(subnet.broadcast_address)))

    def drop(self, subnet: Subnet) -> None:
        first = int(subnet.network_address)
        at = bisect_right(self._firsts[subnet.version], first) - 1
        if at < 0 or self._used[subnet.version][at].subnet != subnet:
            return
        del self._firsts[subnet.version][at], self._used[subnet.version][at]
        for (base, size), below in self._full.items():
            if base.version == subnet.version and first < below:
                self._full[base, size] = max(int(base.network_address), first & -(1 << (base.max_prefixlen - size)))

    def overlapping(self, subnet: Subnet) -> UsedSubnet | None:
        """Return the network's subnet that overlaps *subnet*; None if there is none."""
        return self._overlap(subnet.version, int(subnet.network_address), int(subnet.broadcast_address))

    def choose(self, sources: Sequence[SubnetSource], avoided: AddressRanges, size: int | None = None) -> Subnet | None:
        """Return the lowest free subnet with the source's prefix length or *size*; None if there is none."""
        for source in sources:
            length = source.size if size is None else size
            if source.base.prefixlen <= length <= source.base.max_prefixlen:
                found = self._lowest(source.base, length, avoided)
                if found is not None:
                    return found
        return None

    def _lowest(self, base: Subnet, size: int, avoided: AddressRanges) -> Subnet | None:
        version, step, end = base.version, 1 << (base.max_prefixlen - size), int(base.broadcast_address)
        at = self._full.get((base, size), int(base.network_address))
        all_taken = True
        while at <= end:
            taken = self._overlap(version, at, at + step - 1)
            last = taken.last if taken else avoided.last_within(version, at, at + step - 1)
            if last is None:
                return type(base)((at, size))
            at = (last // step + 1) * step
            all_taken = all_taken and taken is not None
            if all_taken:
                self._full[base, size] = at
        return None

    def _overlap(self, version: int, first: int, last: int) -> UsedSubnet | None:
        at = bisect_right(self._firsts[version], last) - 1
        if at < 0:
            return None
        found = self._used[version][at]
        return found if found.last >= first else None


def configured(texts: Iterable[str]) -> tuple[SubnetSource, ...]:
    """Parse sources such as ``10.10.0.0/16 24``; return them in order of address, without those inside others.

    Raises BadRequest naming the text that cannot be parsed.
    """
    ordered = sorted(map(_source, texts), key=lambda source: _order(source.base))
    found: list[SubnetSource] = []
    for source in ordered:
        if not any(inside(source.base, other.base) for other in found[-1:]):
            found.append(source)
    return tuple(found)


def avoided(texts: Iterable[str]) -> tuple[Subnet, ...]:
    """Parse subnets of the configuration.  Raises BadRequest naming the text that cannot be parsed."""
    return tuple(_subnet("avoid", text) for text in texts)


def _order(subnet: Subnet) -> tuple[int, int, int]:
    return subnet.version, int(subnet.network_address), subnet.prefixlen


def _source(text: str) -> SubnetSource:
    base, _, size = text.partition(" ")
    found = _subnet("default_address_pools", base)
    length = unsigned(size.strip().removeprefix("/"))
    if length is None or not found.prefixlen <= length <= found.max_prefixlen:
        raise BadRequest(
            f'default_address_pools: "{text}" cannot be divided; write the pool and the length of the prefix of each'
            ' network, like "10.10.0.0/16 24"'
        )
    return SubnetSource(found, length)


def _subnet(setting: str, text: str) -> Subnet:
    try:
        return ip_network(text)
    except ValueError as problem:
        raise BadRequest(f"{setting}: {problem}; write a subnet like 10.10.0.0/16") from None
