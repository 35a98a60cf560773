"""Taking a part out of what is published: runs are cut where the part begins and ends.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from netd.common.addresses import Address
from netd.model import Publication, Wish
from netd.portmap.rules import Published


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of wishes and publications."""

    wishes: tuple[Wish, ...]
    publications: tuple[Publication, ...]
    cut: tuple[tuple[Publication, tuple[Publication, ...]], ...]
    """Publications that are no more, each with what is left of it."""


def without(wishes: Sequence[Wish], publications: Sequence[Publication], part: Wish) -> Left:
    """Return what is left without *part*, in which no host port and no address stand for any."""
    cut = [(one, tuple(_rest(one, part))) for one in publications if one.port and _is_of(one, part)]
    gone = {id(one) for one, _ in cut}
    kept = [one for one in publications if id(one) not in gone]
    left = [piece for wish in wishes for piece in _wish_without(wish, part, publications)]
    return Left(tuple(left), (*kept, *(piece for _, rest in cut for piece in rest)), tuple(cut))


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


def _is_of(one: Publication, part: Wish) -> bool:
    """Tell whether *part* takes something from a publication."""
    if one.protocol != part.protocol or not _overlap(one.target, one.count, part):
        return False
    if not (part.addresses == (None,) or one.address in part.addresses):
        return False
    return not part.port or _meets(one.port, one.target, part)


def _meets(port: int, target: int, part: Wish) -> bool:
    """Tell whether the host port that leads to the part's container port is one of the part's."""
    return part.port <= port + part.target - target <= part.last


def _overlap(target: int, count: int, part: Wish) -> bool:
    return target < part.target + part.count and part.target < target + count


def _rest(one: Publication, part: Wish) -> Iterator[Publication]:
    for first, end in _outside((one.target, one.target + one.count), (part.target, part.target + part.count)):
        yield replace(one, port=one.port + first - one.target, target=first, count=end - first)


def _wish_without(wish: Wish, part: Wish, publications: Sequence[Publication]) -> Iterator[Wish]:
    addresses = _other_addresses(wish, part, publications)
    if not _is_asked(wish, part, publications) or addresses == wish.addresses:
        yield wish
        return
    low, high = max(wish.target, part.target), min(wish.target + wish.count, part.target + part.count)
    for first, end in _outside((wish.target, wish.target + wish.count), (low, high)):
        yield _piece(wish, first, end)
    if addresses:
        yield replace(_piece(wish, low, high), addresses=addresses)


def _is_asked(wish: Wish, part: Wish, publications: Sequence[Publication]) -> bool:
    """Tell whether *part* is about ports of the wish; of those that netd chose, by what it chose."""
    if wish.protocol != part.protocol or not _overlap(wish.target, wish.count, part):
        return False
    if wish.fixed:
        return not part.port or _meets(wish.port, wish.target, part)
    return not part.port or any(_is_of(one, part) and _came_of(one, wish) for one in publications)


def _came_of(one: Publication, wish: Wish) -> bool:
    port = one.port + wish.target - one.target
    return wish.port == 0 or wish.port <= port <= wish.last


def _piece(wish: Wish, first: int, end: int) -> Wish:
    if not wish.fixed:
        return wish
    port = wish.port + first - wish.target
    return replace(wish, target=first, count=end - first, port=port, last=port)


def _other_addresses(wish: Wish, part: Wish, publications: Sequence[Publication]) -> tuple[Address | None, ...]:
    """Return the addresses of *wish* that *part* does not take; the usual ones by their names where it takes one."""
    if part.addresses == (None,):
        return ()
    if None not in wish.addresses:
        return tuple(one for one in wish.addresses if one not in part.addresses)
    usual = (one.address for one in publications if one.port and _overlap(one.target, one.count, wish))
    every = dict.fromkeys((*(one for one in wish.addresses if one is not None), *usual))
    taken = [one for one in every if one in part.addresses]
    return tuple(one for one in every if one not in taken) if taken else wish.addresses
