"""The network namespaces of a measurement: netd's host, another host for clients, and the links between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_engine import Engine
from daemons import SOCKETS, Place, listener, start, stop

OUTSIDE = "netd-bench-outside"
_HERE = "/proc/self/ns/net"
_networks = iter(range(200, 250))


def ip(netns: str, *words: str) -> None:
    subprocess.run(["nsenter", f"--net={netns}", "ip", *words], check=True)


_WITHOUT_BR_NETFILTER = """
for setting in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do if [ -e "$setting" ]; then echo 0 >"$setting"; fi; done
"""


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """Create a network namespace with loopback and without br_netfilter, and yield its path."""
    ip(_HERE, "netns", "add", name)
    path = f"/run/netns/{name}"
    try:
        ip(path, "link", "set", "lo", "up")
        subprocess.run(["nsenter", f"--net={path}", "sh", "-c", _WITHOUT_BR_NETFILTER], check=True)
        yield path
    finally:
        ip(_HERE, "netns", "del", name)


@contextmanager
def link(host: str, outside: str) -> Iterator[tuple[str, str]]:
    """Connect two namespaces by a veth pair, and yield the addresses of *host* and *outside*."""
    number = next(_networks)
    ours, other = f"198.19.{number}.2", f"198.19.{number}.1"
    ip(outside, "link", "add", f"bench{number}", "type", "veth", "peer", "name", "netd-bench", "netns", host)
    try:
        for netns, name, address in ((host, "netd-bench", ours), (outside, f"bench{number}", other)):
            ip(netns, "address", "add", f"{address}/24", "dev", name)
            ip(netns, "link", "set", name, "up")
        yield ours, other
    finally:
        ip(outside, "link", "del", f"bench{number}")


@contextmanager
def peer(text: str, outside: str) -> Iterator[Engine]:
    """Yield the engine of ``NAME=URL``.  One in a namespace of its own is linked to *outside*."""
    name, _, url = text.partition("=")
    pid = listener(Path(url.removeprefix("unix://"))) if url.startswith("unix://") else None
    netns = f"/proc/{pid}/ns/net" if pid else ""
    if not netns or os.stat(netns).st_ino == os.stat(_HERE).st_ino:
        yield Engine(name, url)
        return
    with link(netns, outside) as (address, gateway):
        yield Engine(name, url, netns, address, gateway, outside)


@contextmanager
def own(outside: str) -> Iterator[Engine]:
    """Start netd and netd-runtime in a namespace that is linked to *outside*, and yield them as an engine."""
    scratch = Path(tempfile.mkdtemp(prefix="netd-bench-"))
    place = Place(scratch / "state", scratch / "run")
    try:
        with namespace("netd-bench") as host, link(host, outside) as (address, gateway):
            ip(host, "route", "add", "default", "via", gateway)
            within = ["nsenter", f"--net={host}"]

            def restart(name: str) -> float:
                stop(place, name)
                begin = time.perf_counter()
                start(place, name, within)
                return time.perf_counter() - begin

            try:
                for name in SOCKETS:
                    start(place, name, within)
                url = f"unix://{place.socket('netd-runtime')}"
                yield Engine("netd", url, host, address, gateway, outside, restart)
            finally:
                for name in reversed(SOCKETS):
                    stop(place, name)
    finally:
        shutil.rmtree(scratch)
