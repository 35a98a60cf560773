"""Calls of the control plane: networks, connections, containers, published ports, and the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench_engine import IMAGE, MARK, Engine
from daemons import BIN
from docker.models.containers import Container

from bench_groups.figures import MANY_PORTS

Round = Callable[[], None]


@contextmanager
def networks(engine: Engine) -> Iterator[Round]:
    def once() -> None:
        made = engine.timed("network create, ms", engine.network, "bench-made")
        engine.timed("network remove, ms", made.remove)

    yield once


@contextmanager
def connecting(engine: Engine) -> Iterator[Round]:
    network, container = engine.network("bench-connect"), engine.run()

    def once() -> None:
        engine.timed("connect, ms", network.connect, container)
        engine.timed("disconnect, ms", network.disconnect, container)

    yield once


@contextmanager
def running(engine: Engine) -> Iterator[Round]:
    def whole(mode: str) -> None:
        container = engine.api.containers.create(IMAGE, ["true"], labels=MARK, network_mode=mode)
        container.start()
        container.wait()
        gone.append(container)

    def once() -> None:
        for mode in ("none", "bridge"):
            engine.timed(f"create + start + exit ({mode}), ms", whole, mode)
            engine.timed(f"remove ({mode}), ms", gone.pop().remove)

    gone: list[Container] = []
    yield once


@contextmanager
def publishing(engine: Engine) -> Iterator[Round]:
    ports = {f"{7000 + number}/tcp": 20000 + number for number in range(MANY_PORTS)}

    def once() -> None:
        before = engine.memory()
        container = engine.timed(f"start with {MANY_PORTS} ports, ms", engine.run, ports=ports)
        engine.figures[f"memory for {MANY_PORTS} ports, MB"].append(engine.memory() - before)
        container.kill()
        engine.timed(f"remove with {MANY_PORTS} ports, ms", container.remove)

    yield once


@contextmanager
def command_line(engine: Engine) -> Iterator[Round]:
    """Measure a call of ``netctl network ls`` from start to exit; only for netd, because netctl needs its sockets."""
    directory = engine.url.removeprefix("unix://").removesuffix("/docker.sock")
    command = [str(BIN / "netctl"), "--run-dir", directory, "network", "ls"]

    def once() -> None:
        engine.timed("netctl network ls, ms", subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    yield once if engine.name == "netd" else lambda: None
