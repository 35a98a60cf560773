"""Allocation of host user and group ids to the user namespaces of containers.  Pure.

A pool of ids, such as ``100000:1310720``, is divided into ranges of 65,536.  With ``remap`` all containers share the
first range; with ``auto`` each container gets the lowest free range.
"""

from __future__ import annotations

from collections.abc import Iterable

from netd.common.digits import unsigned
from netd.common.errors import BadRequest
from runtime.record import IdRange

RANGE_SIZE = 65536
"""The number of ids of a container."""
_LOWEST = RANGE_SIZE
"""Lower ids belong to users of the host."""
_END = 2**32 - 1
OWNERS = ("netd", "containers")
"""Users whose entries of /etc/subuid and /etc/subgid are used: the first that has an entry."""
REMEDY = (
    'add the line "netd:100000:1310720" to /etc/subuid and /etc/subgid, or set userns_range = "100000:1310720" in the'
    " configuration"
)


def parse(text: str, source: str) -> IdRange:
    """Return the range of ``START:COUNT``.  Raises BadRequest, which names *source*, for an unusable range."""
    start, colon, count = text.partition(":")
    first, size = unsigned(start), unsigned(count)
    if not colon or first is None or size is None:
        raise BadRequest(f'{source}: {text!r} is not a range of ids: write START:COUNT, such as "100000:1310720"')
    if first < _LOWEST or size < RANGE_SIZE or first + size > _END:
        raise BadRequest(
            f"{source}: the range {text} cannot be used: it must begin at {_LOWEST} or above, hold at least"
            f" {RANGE_SIZE} ids and end below {_END}"
        )
    return IdRange(first=first, count=size)


def subordinate_range(users: str, groups: str) -> IdRange:
    """Return the pool in the contents of /etc/subuid and /etc/subgid.  Raises BadRequest with the remedy."""
    text = _entry(users, "/etc/subuid")
    if text != _entry(groups, "/etc/subgid"):
        raise BadRequest(f"/etc/subuid and /etc/subgid give different ranges to {OWNERS[0]}: make them the same")
    return parse(text, "/etc/subuid")


def _entry(text: str, source: str) -> str:
    ranges: dict[str, str] = {}
    for line in text.splitlines():
        name, _, entry = line.strip().partition(":")
        ranges.setdefault(name, entry)
    for owner in OWNERS:
        if owner in ranges:
            return ranges[owner]
    raise BadRequest(f"no ids for user namespaces: {source} has no entry for {' or '.join(OWNERS)}: {REMEDY}")


def shared_range(pool: IdRange, used: Iterable[IdRange]) -> IdRange:
    """Return the range that containers share with ``remap``.  Raises BadRequest if a range of ``auto`` is in it."""
    first = IdRange(first=pool.first, count=RANGE_SIZE, shared=True)
    if any(_overlap(first, other) and not other.shared for other in used):
        raise BadRequest(
            f"the ids {pool.first}:{RANGE_SIZE}, which remap shares, are one container's: remove the containers made"
            " with userns auto, or set another userns_range"
        )
    return first


def lowest_free_range(pool: IdRange, used: Iterable[IdRange]) -> IdRange:
    """Return the lowest range of the pool that overlaps none of *used*.  Raises BadRequest when none is left."""
    first = pool.first
    for other in sorted(used, key=lambda id_range: id_range.first):
        if other.first + other.count <= first:
            continue
        if other.first >= first + RANGE_SIZE:
            break
        first += -(-(other.first + other.count - first) // RANGE_SIZE) * RANGE_SIZE
    if first + RANGE_SIZE > pool.first + pool.count:
        raise BadRequest(
            f"no ids are left for another user namespace: the {pool.count // RANGE_SIZE} ranges of"
            f" {pool.first}:{pool.count} are taken: make userns_range (or the entry in /etc/subuid and /etc/subgid)"
            " larger, or remove containers"
        )
    return IdRange(first=first, count=RANGE_SIZE)


def _overlap(left: IdRange, right: IdRange) -> bool:
    return left.first < right.first + right.count and right.first < left.first + left.count
