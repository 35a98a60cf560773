"""Packets and connections: between two containers of a network, and from another host to published ports.

The same programs run over a bare veth pair between two namespaces: its figures are the floor.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench_engine import Engine, inside, python_inside, serving

from bench_groups.programs import ACCEPT, CONNECT, ECHO, LOAD_SECONDS, TURN

Round = Callable[[], None]
PYTHON = [sys.executable, "-c"]


def measure(engine: Engine, client: str, server: str, address: str) -> None:
    """Measure between the namespaces *client* and *server*, which has *address*."""
    for number, protocol in enumerate(("tcp", "udp")):
        with serving(server, *PYTHON, ECHO, protocol, str(7100 + number)):
            times = python_inside(client, TURN, protocol, address, str(7100 + number))
        engine.figures[f"{protocol.upper()} round trip, p50, us"] += times
    with serving(server, *PYTHON, ACCEPT, "7110"):
        engine.figures["new connections/s"] += python_inside(client, CONNECT, address, "7110")
    engine.figures["packets/s"].append(stream(client, server, address, "-u", "-b", "0", "-l", "64"))
    engine.figures["bulk TCP, Gbit/s"].append(stream(client, server, address))


def stream(client: str, server: str, address: str, *flags: str) -> float:
    """Return what iperf3's server receives: packets per second with ``-u``, else Gbit/s; NaN without iperf3."""
    if not shutil.which("iperf3"):
        return math.nan
    with serving(server, "iperf3", "-s", "-1", "-p", "7120", "--forceflush"):
        text = inside(client, "iperf3", "-c", address, "-p", "7120", "-t", str(LOAD_SECONDS), "-J", *flags)
    try:
        total = json.loads(text)["end"]
        if "-u" in flags:
            counts = total["sum"]
            return float(counts["packets"] * (1 - counts["lost_percent"] / 100) / counts["seconds"])
        return float(total["sum_received"]["bits_per_second"] / 1e9)
    except (ValueError, KeyError):
        return math.nan


@contextmanager
def between(engine: Engine) -> Iterator[Round]:
    engine.network("bench-traffic")
    server, client = (engine.run(name=f"bench-{name}", network="bench-traffic") for name in ("server", "client"))
    ends = engine.namespace(client), engine.namespace(server)
    address = server.attrs["NetworkSettings"]["Networks"]["bench-traffic"]["IPAddress"]
    yield lambda: measure(engine, *ends, address)


@contextmanager
def published(engine: Engine) -> Iterator[Round]:
    """Measure new connections from another host to a published port: when it is the only one, and the last of 300."""

    def once() -> None:
        for count, figure in ((1, "to 1 published port"), (300, "to the last of 300 published ports")):
            ports = {f"{7000 + number}/tcp": 20000 + number for number in range(count)}
            container = engine.run(ports=ports)
            with serving(engine.namespace(container), *PYTHON, ACCEPT, str(7000 + count - 1)):
                rate = python_inside(engine.outside, CONNECT, engine.address, str(20000 + count - 1))
            engine.figures[f"new connections/s {figure}"] += rate
            engine.drop(container)

    yield once if engine.outside else lambda: None
