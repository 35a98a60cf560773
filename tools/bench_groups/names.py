"""Names: those of containers, and those that are forwarded to a server on another host."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_engine import Engine, asked, python_inside, serving
from docker.models.containers import Container

from bench_groups.programs import ASK, LOAD_SECONDS

Round = Callable[[], None]
UPSTREAM = [sys.executable, str(Path(__file__).with_name("upstream.py"))]
DIFFERENT = [f"h{number}.s{number % 97}.bench.example" for number in range(300_000)]


def server_of(container: Container) -> str:
    """Return the name server of a container's resolv.conf."""
    found = re.search(r"^nameserver (\S+)", container.exec_run("cat /etc/resolv.conf").output.decode(), re.M)
    return found[1] if found else "127.0.0.11"


def note(engine: Engine, figure: str, answer_times: list[float]) -> None:
    """Record median and 99th percentile of a round trip in microseconds."""
    for part, value in zip(("p50", "p99"), answer_times, strict=False):
        engine.figures[f"{figure}, {part}, us"].append(value)


@contextmanager
def local(engine: Engine) -> Iterator[Round]:
    engine.network("bench-names")
    engine.run(name="bench-target", network="bench-names")
    asker = engine.run(name="bench-asker", network="bench-names")
    netns, server = engine.namespace(asker), server_of(asker)

    def once() -> None:
        note(engine, "container name", python_inside(netns, ASK, server, "bench-target", "2000"))
        engine.figures["container name, answers/s"].append(asked(netns, server, ["bench-target"], LOAD_SECONDS))

    yield once


@contextmanager
def forwarded(engine: Engine) -> Iterator[Round]:
    """Ask for names that are all different; the server answers at once, from another host."""
    if not engine.outside:
        yield lambda: None
        return
    engine.network("bench-forward")
    asker = engine.run(name="bench-forwarder", network="bench-forward", dns=[engine.gateway])
    netns, server = engine.namespace(asker), server_of(asker)

    def once() -> None:
        note(engine, "forwarded name", python_inside(netns, ASK, server, "bench.example", "1000", "new"))
        engine.figures["forwarded names, answers/s"].append(asked(netns, server, DIFFERENT, LOAD_SECONDS))

    with serving(engine.outside, *UPSTREAM, engine.gateway):
        yield once
