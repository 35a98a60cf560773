"""The budget of tracked connections per container, and estimates of their number.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from netd.common.addresses import Address
from netd.common.mac import link_local
from netd.host_protocol import ConnectionTable
from netd.model import Sandbox

_SHARE, _LEAST = 4, 16_384
"""The default budget: the size of the table divided by ``_SHARE``, and at least ``_LEAST`` entries."""
_SAMPLE, _PRECISION = 4096, 256
"""Minimum size of a sample, and the expected number of entries in it of a container whose number of connections equals
its budget (a standard error of 6 %)."""


def budget_of(setting: int | None, table: ConnectionTable) -> int:
    """Return the budget of each container; 0: no limit."""
    return max(table.maximum // _SHARE, _LEAST) if setting is None else setting


def sample_size(table: ConnectionTable, budget: int) -> int:
    return max(_SAMPLE, table.entries * _PRECISION // budget)


def sources_of(sandbox: Sandbox) -> Iterator[Address]:
    """Yield the source addresses of a container, including the IPv6 link-local ones derived from its MACs."""
    for endpoint in sandbox.endpoints:
        for address in endpoint.addresses:
            yield address.ip
        if endpoint.mac:
            yield link_local(endpoint.mac)


def estimate(sample: Mapping[bytes, int], entries: int, sandboxes: Iterable[Sandbox]) -> dict[str, int]:
    """Estimate how many of the table's *entries* each container has, by id, for the containers in the sample."""
    owners = {source.packed: sandbox.id for sandbox in sandboxes for source in sources_of(sandbox)}
    found: Counter[str] = Counter()
    for source, number in sample.items():
        if source in owners:
            found[owners[source]] += number
    read = sum(sample.values())
    return {sandbox: number * max(entries, read) // read for sandbox, number in found.items()}


def exceeds(entries: int, budget: int, *, already: bool) -> bool:
    """Return whether a container is over its budget; if it was *already*, whether it is still over half of it."""
    return entries > (budget // 2 if already else budget)
