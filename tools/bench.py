"""Compare engines: every engine executes the same rounds, and in each round the engines are measured in turn.

Prints medians, their ratio to netd's (inverted for rates, so that a ratio above 1 means that netd is better), and the
target figure.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench_engine import Engine
from bench_scenes import CROWD, MANY_PORTS, SCENES
from daemons import SOCKETS, Place, start, stop

HOST, ADDRESS, GATEWAY = "netd-bench", "198.51.112.2", "198.51.112.1"
OUTSIDE = "netd-bench-outside"
TARGETS = {
    "connect, ms": 6,
    "disconnect, ms": 6,
    "network create, ms": 5,
    "network remove, ms": 5,
    "create + start + exit (none), ms": 35,
    "create + start + exit (bridge), ms": 45,
    f"start with {MANY_PORTS} ports, ms": 60,
    f"memory for {MANY_PORTS} ports, MB": 1,
    "names found a second": 60_000,
    "name found, p50, us": 40,
    "name found, p99, us": 120,
    f"{CROWD} containers on one network, s": 1.6,
    f"memory for {CROWD} containers, MB": 40,
    "netctl network ls, ms": 80,
}


def main() -> int:
    options = arguments()
    with ExitStack() as stack:
        outside = stack.enter_context(other_host(options.outside))
        engines = [parsed(text, outside) for text in options.engine]
        engines.append(stack.enter_context(our_own(outside)))
        for engine in engines:
            engine.open()
            stack.callback(engine.clean)
        for name in options.only.split(","):
            measure(engines, name, options.rounds)
    show(engines)
    if options.json:
        options.json.write_text(json.dumps({engine.name: engine.figures for engine in engines}, indent=1))
    return 0


def arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME=URL[,ADDRESS[,NETNS]]",
        help="another engine: URL of its API, address of its host from outside, network namespace of its host",
    )
    parser.add_argument("--only", default=",".join(SCENES), metavar="SCENES", help=f"scenes: {', '.join(SCENES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="number of rounds of every scene")
    parser.add_argument("--outside", metavar="NETNS", help="network namespace of the clients; created if not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measured values to FILE")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(SCENES):
        parser.error(f"unknown scene {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")
    return options


def parsed(text: str, outside: str) -> Engine:
    name, _, rest = text.partition("=")
    url, address, netns, *_ = [*rest.split(","), "", ""]
    return Engine(name, url, address, netns, outside)


def measure(engines: list[Engine], name: str, rounds: int | None) -> None:
    scene, usual = SCENES[name]
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        once = [stack.enter_context(scene(engine)) for engine in engines]
        for _ in range(rounds or usual):
            for play in once:
                play()
    for engine in engines:
        engine.clean()


def show(engines: list[Engine]) -> None:
    *others, ours = engines
    head = [engine.name for engine in engines] + [f"over {engine.name}" for engine in others] + ["meant"]
    print(f"{'median':40}" + "".join(f"{word:>14}" for word in head))
    for figure in ours.figures:
        mine, target = ours.median(figure), TARGETS.get(figure)
        ratios = [f"{advantage(figure, mine, engine.median(figure)):13.1f}x" for engine in others]
        medians = [f"{engine.median(figure):14.1f}" for engine in engines]
        meant = f"{target:14,}" + ("" if reached(figure, mine, target) else "  missed") if target else ""
        print(f"{figure:40}" + "".join([*medians, *ratios, meant]))


def advantage(figure: str, mine: float, theirs: float) -> float:
    """Return the ratio of the values, above 1 if *mine* is better."""
    above, below = (mine, theirs) if "a second" in figure else (theirs, mine)
    return above / below if below else math.inf


def reached(figure: str, mine: float, target: float) -> bool:
    return mine >= target if "a second" in figure else mine <= target


@contextmanager
def other_host(given: str | None) -> Iterator[str]:
    """Yield the name of a namespace that stands for another host."""
    if given:
        yield given
        return
    ip("netns", "add", OUTSIDE)
    try:
        ip("-n", OUTSIDE, "link", "set", "lo", "up")
        yield OUTSIDE
    finally:
        ip("netns", "del", OUTSIDE)


@contextmanager
def our_own(outside: str) -> Iterator[Engine]:
    """Start netd and netd-runtime in a namespace with a link to the other host, and yield them as an engine."""
    scratch = Path(tempfile.mkdtemp(prefix="netd-bench-"))
    place = Place(scratch / "state", scratch / "run")
    ip("netns", "add", HOST)
    try:
        ip("link", "add", "up0", "netns", HOST, "type", "veth", "peer", "name", "netd-bench", "netns", outside)
        for netns, link, address in ((HOST, "up0", ADDRESS), (outside, "netd-bench", GATEWAY)):
            ip("-n", netns, "address", "add", f"{address}/24", "dev", link)
            ip("-n", netns, "link", "set", link, "up")
        ip("-n", HOST, "link", "set", "lo", "up")
        ip("-n", HOST, "route", "add", "default", "via", GATEWAY)
        for name in SOCKETS:
            start(place, name, within=["nsenter", f"--net=/run/netns/{HOST}"])
        yield Engine("netd", f"unix://{place.socket('netd-runtime')}", ADDRESS, HOST, outside)
    finally:
        for name in reversed(SOCKETS):
            stop(place, name)
        ip("netns", "del", HOST)
        shutil.rmtree(scratch)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
