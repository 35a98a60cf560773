"""Unpublishing some ports: requests and publications are split at the bounds of the unpublished part.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from netd.common.addresses import Address
from netd.model import PortRequest, Publication
from netd.portmap.rules import Published


@dataclass(frozen=True, slots=True)
class Remainder:
    """The remaining port requests and publications."""

    port_requests: tuple[PortRequest, ...]
    publications: tuple[Publication, ...]
    cut: tuple[tuple[Publication, tuple[Publication, ...]], ...]
    """Replaced publications, each with its remaining parts."""


def without(port_requests: Sequence[PortRequest], publications: Sequence[Publication], part: PortRequest) -> Remainder:
    """Return the remainder without *part*, in which host port 0 matches any port and address None any address."""
    affected = [publication for publication in publications if publication.port and _is_part_of(publication, part)]
    cut = [(publication, tuple(_rest(publication, part))) for publication in affected]
    gone = {id(publication) for publication in affected}
    kept = [publication for publication in publications if id(publication) not in gone]
    left = [piece for port_request in port_requests for piece in _request_without(port_request, part, publications)]
    return Remainder(tuple(left), (*kept, *(piece for _, rest in cut for piece in rest)), tuple(cut))


def minus(published: Iterable[Published], others: Iterable[Published]) -> list[Published]:
    """Return the parts of *published* whose host ports no entry of *others* forwards to the same destination."""
    by_destination: dict[tuple[object, ...], list[Published]] = {}
    for other in others:
        by_destination.setdefault(_destination(other), []).append(other)
    found = []
    for rule in published:
        pieces = [(rule.port, rule.port + rule.count)]
        for other in by_destination.get(_destination(rule), ()):
            pieces = [rest for piece in pieces for rest in _outside(piece, (other.port, other.port + other.count))]
        offset = rule.target_port - rule.port
        found += [
            Published(rule.protocol, rule.address, first, rule.target, first + offset, end - first, rule.allow)
            for first, end in pieces
        ]
    return found


def _destination(rule: Published) -> tuple[object, ...]:
    return rule.protocol, rule.address, rule.target, rule.target_port - rule.port


def _outside(piece: tuple[int, int], other: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the parts of the first half-open range that are outside the second."""
    (first, end), (low, high) = piece, other
    if first < min(end, low):
        yield first, min(end, low)
    if max(first, high) < end:
        yield max(first, high), end


def _is_part_of(publication: Publication, part: PortRequest) -> bool:
    """Return True if *part* includes ports of a publication."""
    if publication.protocol != part.protocol or not _overlap(publication.target, publication.count, part):
        return False
    if not (part.addresses == (None,) or publication.address in part.addresses):
        return False
    return not part.port or _has_host_port(publication.port, publication.target, part)


def _has_host_port(port: int, target: int, part: PortRequest) -> bool:
    """Return True if the host port for the part's container port is one of the part's host ports."""
    return part.port <= port + part.target - target <= part.last


def _overlap(target: int, count: int, part: PortRequest) -> bool:
    return target < part.target + part.count and part.target < target + count


def _rest(whole: Publication, part: PortRequest) -> Iterator[Publication]:
    for first, end in _outside((whole.target, whole.target + whole.count), (part.target, part.target + part.count)):
        yield replace(whole, port=whole.port + first - whole.target, target=first, count=end - first)


def _request_without(
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
    """Return True if *part* includes ports of the request.

    Host ports that netd chose are taken from the request's publications.
    """
    if port_request.protocol != part.protocol or not _overlap(port_request.target, port_request.count, part):
        return False
    if port_request.fixed:
        return not part.port or _has_host_port(port_request.port, port_request.target, part)
    return not part.port or any(
        _is_part_of(publication, part) and _results_from(publication, port_request) for publication in publications
    )


def _results_from(publication: Publication, port_request: PortRequest) -> bool:
    port = publication.port + port_request.target - publication.target
    return port_request.port == 0 or port_request.port <= port <= port_request.last


def _piece(port_request: PortRequest, first: int, end: int) -> PortRequest:
    if not port_request.fixed:
        return port_request
    port = port_request.port + first - port_request.target
    return replace(port_request, target=first, count=end - first, port=port, last=port)


def _other_addresses(
    port_request: PortRequest, part: PortRequest, publications: Sequence[Publication]
) -> tuple[Address | None, ...]:
    """Return the addresses of *port_request* that are not in *part*.

    Default addresses become explicit if *part* includes one of them.
    """
    if part.addresses == (None,):
        return ()
    if None not in port_request.addresses:
        return tuple(address for address in port_request.addresses if address not in part.addresses)
    default = (
        publication.address
        for publication in publications
        if publication.port and _overlap(publication.target, publication.count, port_request)
    )
    every = dict.fromkeys((*(address for address in port_request.addresses if address is not None), *default))
    removed = [address for address in every if address in part.addresses]
    return tuple(address for address in every if address not in removed) if removed else port_request.addresses
