"""Which of the host's user and group ids the user namespaces of containers get.  Pure.

A pool of ids, such as ``100000:1310720``, is cut into pieces of 65,536.  With ``remap`` all containers share the first;
with ``auto`` each takes the lowest piece that no other has.
"""

from __future__ import annotations

from collections.abc import Iterable

from netd.common.digits import unsigned
from netd.common.errors import BadRequest
from runtime.record import IdRange

PIECE = 65536
"""Ids of one container."""
_LOWEST = PIECE
"""Below are the host's own users."""
_END = 2**32 - 1
OWNERS = ("netd", "containers")
"""Whose entry of /etc/subuid and /etc/subgid is used, the first that is there."""
REMEDY = (
    'add the line "netd:100000:1310720" to /etc/subuid and /etc/subgid, or set userns_range = "100000:1310720" in the'
    " configuration"
)


def parse(text: str, source: str) -> IdRange:
    """Read ``START:COUNT``.  Raises BadRequest naming *source* when it cannot serve as a pool."""
    start, colon, count = text.partition(":")
    first, size = unsigned(start), unsigned(count)
    if not colon or first is None or size is None:
        raise BadRequest(f'{source}: {text!r} is no range of ids: write START:COUNT, such as "100000:1310720"')
    if first < _LOWEST or size < PIECE or first + size > _END:
        raise BadRequest(
            f"{source}: the range {text} cannot be used: it has to begin at {_LOWEST} or above, hold at least {PIECE}"
            f" ids and end below {_END}"
        )
    return IdRange(first=first, count=size)


def subordinate(users: str, groups: str) -> IdRange:
    """Return the pool that the contents of /etc/subuid and /etc/subgid name.  Raises BadRequest with the remedy."""
    found = _entry(users, "/etc/subuid")
    if found != _entry(groups, "/etc/subgid"):
        raise BadRequest(f"/etc/subuid and /etc/subgid give different ranges to {OWNERS[0]}: make them the same")
    return parse(found, "/etc/subuid")


def _entry(text: str, source: str) -> str:
    ranges: dict[str, str] = {}
    for line in text.splitlines():
        name, _, found = line.strip().partition(":")
        ranges.setdefault(name, found)
    for owner in OWNERS:
        if owner in ranges:
            return ranges[owner]
    raise BadRequest(f"no ids for user namespaces: {source} has no entry for {' or '.join(OWNERS)}: {REMEDY}")


def shared(pool: IdRange, taken: Iterable[IdRange]) -> IdRange:
    """Return what all containers share with ``remap``.  Raises BadRequest when a container has it for itself."""
    first = IdRange(first=pool.first, count=PIECE, shared=True)
    if any(_overlap(first, one) and not one.shared for one in taken):
        raise BadRequest(
            f"the ids {pool.first}:{PIECE}, which remap shares, are a container's own: remove the containers made with"
            " userns auto, or set another userns_range"
        )
    return first


def lowest_free(pool: IdRange, taken: Iterable[IdRange]) -> IdRange:
    """Return the lowest piece of the pool that overlaps none of *taken*.  Raises BadRequest when none is left."""
    used = sorted(taken, key=lambda one: one.first)
    first = pool.first
    for one in used:
        if one.first + one.count <= first:
            continue
        if one.first >= first + PIECE:
            break
        first += -(-(one.first + one.count - first) // PIECE) * PIECE
    if first + PIECE > pool.first + pool.count:
        raise BadRequest(
            f"no ids are left for another user namespace: the {pool.count // PIECE} ranges of {pool.first}:{pool.count}"
            " are taken: make userns_range (or the entry in /etc/subuid and /etc/subgid) larger, or remove containers"
        )
    return IdRange(first=first, count=PIECE)


def _overlap(one: IdRange, other: IdRange) -> bool:
    return one.first < other.first + other.count and other.first < one.first + one.count
