"""Taking a part out of what is published: runs are cut where the part begins and ends.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from netd.common.addresses import Address
from netd.model import PortRequest, Publication
from netd.portmap.rules import Published


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is left of wishes and publications."""

    port_requests: tuple[PortRequest, ...]
    publications: tuple[Publication, ...]
    cut: tuple[tuple[Publication, tuple[Publication, ...]], ...]
    """Publications that are no more, each with what is left of it."""


def without(port_requests: Sequence[PortRequest], publications: Sequence[Publication], part: PortRequest) -> Remainder:
    """Return what is left without *part*, in which no host port and no address stand for any."""
    cut = [(one, tuple(_rest(one, part))) for one in publications if one.port and _is_of(one, part)]
    gone = {id(one) for one, _ in cut}
    kept = [one for one in publications if id(one) not in gone]
    left = [piece for port_request in port_requests for piece in _wish_without(port_request, part, publications)]
    return Remainder(tuple(left), (*kept, *(piece for _, rest in cut for piece in rest)), tuple(cut))


def minus(ones: Iterable[Published], others: Iterable[Published]) -> list[Published]:
    """Return what *ones* lead somewhere and none of *others* leads there as well, whoever may come."""
    by_lead: dict[tuple[object, ...], list[Published]] = {}
    for other in others:
        by_lead.setdefault(_lead(other), []).append(other)
    found = []
    for one in ones:
        pieces = [(one.port, one.port + one.count)]
        for other in by_lead.get(_lead(one), ()):
            pieces = [rest for piece in pieces for rest in _outside(piece, (other.port, other.port + other.count))]
        shift = one.target_port - one.port
        for first, end in pieces:
            found.append(Published(one.protocol, one.address, first, one.target, first + shift, end - first, one.allow))
    return found


def _lead(one: Published) -> tuple[object, ...]:
    return one.protocol, one.address, one.target, one.target_port - one.port


def _outside(piece: tuple[int, int], other: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield what of the first half-open span is not in the second."""
    (first, end), (low, high) = piece, other
    if first < min(end, low):
        yield first, min(end, low)
    if max(first, high) < end:
        yield max(first, high), end


def _is_of(one: Publication, part: PortRequest) -> bool:
    """Tell whether *part* takes something from a publication."""
    if one.protocol != part.protocol or not _overlap(one.target, one.count, part):
        return False
    if not (part.addresses == (None,) or one.address in part.addresses):
        return False
    return not part.port or _meets(one.port, one.target, part)


def _meets(port: int, target: int, part: PortRequest) -> bool:
    """Tell whether the host port that leads to the part's container port is one of the part's."""
    return part.port <= port + part.target - target <= part.last


def _overlap(target: int, count: int, part: PortRequest) -> bool:
    return target < part.target + part.count and part.target < target + count


def _rest(one: Publication, part: PortRequest) -> Iterator[Publication]:
    for first, end in _outside((one.target, one.target + one.count), (part.target, part.target + part.count)):
        yield replace(one, port=one.port + first - one.target, target=first, count=end - first)


def _wish_without(
    port_request: PortRequest, part: PortRequest, publications: Sequence[Publication]
) -> Iterator[PortRequest]:
    addresses = _other_addresses(port_request, part, publications)
    if not _is_asked(port_request, part, publications) or addresses == port_request.addresses:
        yield port_request
        return
    low, high = (
        max(port_request.target, part.target),
        min(port_request.target + port_request.count, part.target + part.count),
    )
    for first, end in _outside((port_request.target, port_request.target + port_request.count), (low, high)):
        yield _piece(port_request, first, end)
    if addresses:
        yield replace(_piece(port_request, low, high), addresses=addresses)


def _is_asked(port_request: PortRequest, part: PortRequest, publications: Sequence[Publication]) -> bool:
    """Tell whether *part* is about ports of the wish; of those that netd chose, by what it chose."""
    if port_request.protocol != part.protocol or not _overlap(port_request.target, port_request.count, part):
        return False
    if port_request.fixed:
        return not part.port or _meets(port_request.port, port_request.target, part)
    return not part.port or any(_is_of(one, part) and _came_of(one, port_request) for one in publications)


def _came_of(one: Publication, port_request: PortRequest) -> bool:
    port = one.port + port_request.target - one.target
    return port_request.port == 0 or port_request.port <= port <= port_request.last


def _piece(port_request: PortRequest, first: int, end: int) -> PortRequest:
    if not port_request.fixed:
        return port_request
    port = port_request.port + first - port_request.target
    return replace(port_request, target=first, count=end - first, port=port, last=port)


def _other_addresses(
    port_request: PortRequest, part: PortRequest, publications: Sequence[Publication]
) -> tuple[Address | None, ...]:
    """Return the addresses of *wish* that *part* does not take; the usual ones by their names where it takes one."""
    if part.addresses == (None,):
        return ()
    if None not in port_request.addresses:
        return tuple(one for one in port_request.addresses if one not in part.addresses)
    usual = (one.address for one in publications if one.port and _overlap(one.target, one.count, port_request))
    every = dict.fromkeys((*(one for one in port_request.addresses if one is not None), *usual))
    taken = [one for one in every if one in part.addresses]
    return tuple(one for one in every if one not in taken) if taken else port_request.addresses
