"""Packet counters of the host's links, from /proc/thread-self/net/dev (proc(5))."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from netd.host_protocol import LinkCounters

_FILE = Path("/proc/thread-self/net/dev")
_RECEIVED, _SENT = 0, 8
"""Positions of the counters of each direction: bytes, packets, errors, dropped."""


def read(delivered: Mapping[str, tuple[int, int]]) -> Mapping[str, LinkCounters]:
    """Return the counters of all links of the network namespace by name.

    *delivered* are packets and bytes that reached the peer of a link directly, counted at the peer only.
    """
    found = dict(map(_parsed, _FILE.read_text().splitlines()[2:]))
    for name, (packets, size) in delivered.items():
        if (link := found.get(name)) is not None:
            found[name] = replace(link, sent_packets=link.sent_packets + packets, sent_bytes=link.sent_bytes + size)
    return found


def _parsed(line: str) -> tuple[str, LinkCounters]:
    name, _, rest = line.rpartition(":")
    numbers = [int(word) for word in rest.split()]
    received, sent = numbers[_RECEIVED : _RECEIVED + 4], numbers[_SENT : _SENT + 4]
    return name.strip(), LinkCounters(
        received_bytes=received[0],
        received_packets=received[1],
        received_dropped=received[3],
        sent_bytes=sent[0],
        sent_packets=sent[1],
        sent_dropped=sent[3],
    )
