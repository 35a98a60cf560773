"""Packet counters of the host's links, from /proc/thread-self/net/dev (proc(5))."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from netd.host_protocol import LinkCounters

_FILE = Path("/proc/thread-self/net/dev")
_RECEIVED, _SENT = 0, 8
"""Positions of the counters of each direction: bytes, packets, errors, dropped."""


def read() -> Mapping[str, LinkCounters]:
    """Return the counters of all links of the network namespace by name."""
    return dict(map(_parsed, _FILE.read_text().splitlines()[2:]))


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
