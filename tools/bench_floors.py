"""Floors: the same kernel calls as an engine's operations in a straight line, without records, locks or HTTP.

Run as a program in an empty network namespace, with the number of rounds, it prints the medians of the control plane's
floors as JSON: ``network create`` with one fsync(2) for its record, ``network remove``, ``connect`` and ``disconnect``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netd.kernel.namespaces import libc, netns
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

_ROUNDS = 15
_ANY = 0
"""The kernel chooses the index of a link."""
_MAC = "02:42:0a:00:00:02"


def main() -> None:
    times: defaultdict[str, list[float]] = defaultdict(list)

    def timed(name: str, call: Callable[[], None]) -> None:
        begin = time.perf_counter()
        call()
        times[name].append((time.perf_counter() - begin) * 1000)

    container = netns.in_new_thread(_new_namespace)
    inside = netns.run_in_fd(container, Rtnl)
    with Rtnl() as host, tempfile.TemporaryFile() as record:
        for _ in range(int(sys.argv[1]) if sys.argv[1:] else _ROUNDS):
            timed("network create, ms", lambda: _create(host, record.fileno()))
            timed("connect, ms", lambda: _connect(host, inside, container))
            timed("disconnect, ms", lambda: host.talk(rtnl.delete_link("floor0")))
            timed("network remove, ms", lambda: _remove(host, record.fileno()))
    print(json.dumps({name: statistics.median(values) for name, values in times.items()}))


def _new_namespace() -> int:
    libc.unshare(libc.CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _write(record: int) -> None:
    os.write(record, bytes(1024))
    os.fsync(record)


def _create(host: Rtnl, record: int) -> None:
    _write(record)
    host.talk(rtnl.new_bridge("floor", 1500, _MAC))
    bridge = index_of("floor")
    assert bridge
    host.talk(rtnl.add_address(bridge, IPv4Interface("10.0.0.1/16")), rtnl.set_link(bridge, up=True))


def _remove(host: Rtnl, record: int) -> None:
    host.talk(rtnl.delete_link("floor"))
    _write(record)


def _connect(host: Rtnl, inside: Rtnl, container: int) -> None:
    bridge = index_of("floor")
    assert bridge
    host.talk(rtnl.new_pair("floor0", "eth0", container, bridge, _MAC, 1500, _ANY), rtnl.set_link("floor0", up=True))
    end = inside.find("eth0")
    assert end
    inside.talk(rtnl.add_address(end.index, IPv4Interface("10.0.0.2/16")), rtnl.set_link(end.index, up=True))


if __name__ == "__main__":
    main()
