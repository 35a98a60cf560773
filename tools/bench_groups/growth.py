"""How the costs of calls grow with what exists; bursts of starts; memory; restarts of netd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench_engine import Engine, asked, python_inside

from bench_groups.figures import CROWD, GROWN, STARTS
from bench_groups.names import note, server_of
from bench_groups.programs import ASK, LOAD_SECONDS

Round = Callable[[], None]
AT_ONCE = 10


@contextmanager
def burst(engine: Engine) -> Iterator[Round]:
    """Start containers side by side, and ask for a name all the time."""
    engine.network("bench-burst")
    engine.run(name="bench-target", network="bench-burst")
    asker = engine.run(name="bench-asker", network="bench-burst")
    netns, server = engine.namespace(asker), server_of(asker)

    def start(number: int) -> float:
        begin = time.perf_counter()
        engine.run(name=f"bench-burst-{number}", network="bench-burst")
        return (time.perf_counter() - begin) * 1000

    def starts() -> None:
        begin = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            times = sorted(pool.map(start, range(STARTS)))
        engine.figures[f"{STARTS} starts, 10 at a time, s"].append(time.perf_counter() - begin)
        engine.figures[f"{STARTS} starts, 10 at a time, p95, ms"].append(times[STARTS * 95 // 100])
        remove()

    def remove() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            crowd = engine.api.containers.list(filters={"name": "bench-burst-"})
            list(pool.map(lambda container: container.remove(force=True), crowd))

    def once() -> None:
        starts()
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(asked, netns, server, ["bench-target"], LOAD_SECONDS)
            with ThreadPoolExecutor(AT_ONCE) as starters:
                list(starters.map(start, range(STARTS)))
            engine.figures[f"container name during {STARTS} starts, answers/s"].append(answers.result())
        remove()

    yield once


@contextmanager
def crowd(engine: Engine) -> Iterator[Round]:
    def once() -> None:
        before, begin = engine.memory(), time.perf_counter()
        engine.network("bench-crowd")
        for number in range(CROWD):
            engine.run(name=f"bench-crowd-{number}", network="bench-crowd")
        engine.figures[f"{CROWD} containers on one network, s"].append(time.perf_counter() - begin)
        engine.figures[f"memory for {CROWD} containers, MB"].append(engine.memory() - before)
        engine.clean()

    yield once


@contextmanager
def grown(engine: Engine) -> Iterator[Round]:
    """Measure netd beside many containers and many networks: for other engines this takes too long."""

    def once() -> None:
        beside_containers()
        engine.clean()
        beside_networks()

    def beside_containers() -> None:
        engine.network("bench-grown")
        starts = {10: "start of the 10th container on a network, ms"}
        starts[GROWN] = f"start of the {GROWN}th container on a network, ms"
        for number in range(1, GROWN + 6):
            figure = next((starts[place] for place in starts if place <= number < place + 5), "start, ms")
            last = engine.timed(figure, engine.run, name=f"bench-grown-{number}", network="bench-grown")
        netns, server, figure = engine.namespace(last), server_of(last), f"container name beside {GROWN} containers"
        note(engine, figure, python_inside(netns, ASK, server, "bench-grown-7", "2000"))
        names = [f"bench-grown-{number}" for number in range(1, GROWN)]
        engine.figures[f"{figure}, answers/s"].append(asked(netns, server, names, LOAD_SECONDS))

    def beside_networks() -> None:
        for number in range(GROWN):
            engine.network(f"bench-grown-{number}")
        for number in range(5):
            figure = f"network create beside {GROWN} networks, ms"
            made = engine.timed(figure, engine.network, f"bench-more-{number}")
            container = engine.run(name=f"bench-more-{number}")
            engine.timed(f"connect beside {GROWN} networks, ms", made.connect, container)
        for number in range(CROWD - 5):
            engine.run(name=f"bench-rest-{number}", network="bench-grown-0")
        assert engine.restart
        for name, what in (
            ("netd", f"{GROWN} networks and {CROWD} containers"),
            ("netd-runtime", f"{CROWD} containers"),
        ):
            engine.figures[f"restart of {name} with {what}, s"].append(engine.restart(name))

    yield once if engine.restart else lambda: None
