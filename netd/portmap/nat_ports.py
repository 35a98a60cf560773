"""Source ports for connections that a container begins from a port which is published to another container.  Pure.

Source NAT keeps a connection's port where it can.  If that is a published port, replies of the peer cannot be told from
new packets of the peer to the published port: these would reach the wrong container.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6
from netd.portmap.rules import Published

Block: TypeAlias = tuple[int, int]
"""First and last port."""
_SIZE = 1024
_EPHEMERAL = range(59 * _SIZE, 31 * _SIZE, -_SIZE)
"""The blocks within the kernel's default range for its own connections, where ports are rarely published."""
BLOCKS: tuple[Block, ...] = tuple(
    (first, min(first + _SIZE, 65536) - 1)
    for first in (*_EPHEMERAL, *range(63 * _SIZE, 59 * _SIZE, -_SIZE), *range(31 * _SIZE, 0, -_SIZE))
)
"""In order of preference."""


def clashes(rule: Published) -> bool:
    """Return whether source NAT can take the rule's host ports: not at the loopback addresses."""
    return not rule.address.is_loopback


def is_own(rule: Published) -> bool:
    """Return whether the container's connections keep the published port, because replies to it are its own."""
    return rule.port == rule.target_port and rule.address in (EVERY_IPV4, EVERY_IPV6)


def overlaps(rules: Iterable[Published], block: Block) -> bool:
    return any(rule.port <= block[1] and rule.port + rule.count > block[0] for rule in rules)


def choose(rules: Iterable[Published]) -> Block:
    """Return the first block without a published port; the first of all if there is none."""
    spans = [(rule.port, rule.port + rule.count - 1) for rule in rules if clashes(rule)]
    used = {number for first, last in spans for number in range(first // _SIZE, last // _SIZE + 1)}
    return next((block for block in BLOCKS if block[0] // _SIZE not in used), BLOCKS[0])


def single_ports(rule: Published) -> Iterator[tuple[int, str, int]]:
    """Yield family, protocol and port of each port that several rules may have, at different addresses of the host.

    A range at all addresses yields none, because no other rule has its ports.
    """
    if clashes(rule) and not (rule.count > 1 and rule.address in (EVERY_IPV4, EVERY_IPV6)):
        for port in range(rule.port, rule.port + rule.count):
            yield rule.address.version, rule.protocol, port
