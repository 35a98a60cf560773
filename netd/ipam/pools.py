"""Where subnets come from when nobody asks for one: Docker's default pools, lowest free block first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from netd.common.errors import BadRequest

_WIDEST_ROUTE = 8
"""Routes as wide as this or wider (a VPN's halves of the world) say nothing about who uses an address."""


@dataclass(frozen=True, slots=True)
class Source:
    """A stretch of addresses that is given out in subnets of ``size`` bits of prefix."""

    base: IPv4Network
    size: int


DEFAULT = (
    Source(IPv4Network("172.17.0.0/16"), 16),
    Source(IPv4Network("172.18.0.0/16"), 16),
    Source(IPv4Network("172.19.0.0/16"), 16),
    Source(IPv4Network("172.20.0.0/14"), 16),
    Source(IPv4Network("172.24.0.0/14"), 16),
    Source(IPv4Network("172.28.0.0/14"), 16),
    Source(IPv4Network("192.168.0.0/16"), 20),
)


def choose(
    used: Collection[IPv4Network],
    routed: Iterable[IPv4Network],
    size: int | None = None,
    sources: Sequence[Source] = DEFAULT,
) -> IPv4Network:
    """Return the lowest free subnet, of each source's own size or of *size*.

    *used* belong to other networks of ours; *routed* the host has routes for.  A route that covers a whole source is
    respected as long as something else is free: it may be only a summary that leads to a VPN.
    Raises BadRequest when nothing is left.
    """
    if size is not None and all(size < source.base.prefixlen for source in sources):
        raise BadRequest(f"invalid address pool: no default pool has room for a /{size}; give the subnet itself")
    narrow = [network for network in routed if network.prefixlen > _WIDEST_ROUTE]
    summaries = [one for one in narrow if any(source.base.subnet_of(one) for source in sources)]
    links = [one for one in narrow if one not in summaries]
    for avoided in ([*used, *links, *summaries], [*used, *links]):
        if found := _first(avoided, size, sources):
            return found
    raise BadRequest("all predefined address pools have been fully subnetted; give a subnet, or remove unused networks")


def _first(avoided: Iterable[IPv4Network], size: int | None, sources: Sequence[Source]) -> IPv4Network | None:
    spans = sorted((int(one.network_address), int(one.broadcast_address)) for one in avoided)
    for source in sources:
        length = source.size if size is None else size
        if length >= source.base.prefixlen and (found := _lowest(source.base, length, spans)):
            return found
    return None


def _lowest(base: IPv4Network, size: int, spans: Iterable[tuple[int, int]]) -> IPv4Network | None:
    """Return the lowest block of *base* that no span touches; *spans* are in order of their beginnings."""
    step = 1 << (32 - size)
    at = int(base.network_address)
    for first, last in spans:
        if first >= at + step:
            break
        if last >= at:
            at = (last // step + 1) * step
    return IPv4Network((at, size)) if at + step - 1 <= int(base.broadcast_address) else None
