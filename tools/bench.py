"""Compare engines: every engine executes the same rounds, and in each round the engines are measured in turn.

Prints medians, netd's goals, and how many times better netd is than each other engine.  With --write, it writes
docs/benchmarks.md.  No group begins after the given minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import bench_page
from bench_engine import Engine
from bench_groups import control, growth, names, traffic
from bench_hosts import OUTSIDE, namespace, own, peer
from bench_others import columns

Group = Callable[[Engine], AbstractContextManager[Callable[[], None]]]
GROUPS: dict[str, tuple[Group, int, float]] = {
    "networks": (control.networks, 15, 20),
    "connecting": (control.connecting, 15, 20),
    "running": (control.running, 15, 30),
    "command-line": (control.command_line, 15, 5),
    "names": (names.local, 5, 45),
    "forwarded": (names.forwarded, 5, 50),
    "traffic": (traffic.between, 3, 75),
    "burst": (growth.burst, 2, 60),
    "grown": (growth.grown, 1, 60),
    "crowd": (growth.crowd, 1, 60),
    "publishing": (control.publishing, 2, 15),
    "published": (traffic.published, 2, 15),
}
"""Name, group, number of rounds, and seconds after which no further round begins."""


def main() -> int:
    options = arguments()
    begin, skipped = time.monotonic(), []
    with ExitStack() as stack:
        outside = stack.enter_context(namespace(OUTSIDE))
        engines = [stack.enter_context(peer(text, outside)) for text in options.engine]
        engines.append(stack.enter_context(own(outside)))
        for engine in engines:
            engine.open()
            stack.callback(engine.clean)
        others = columns() if options.others else []
        for name in options.only.split(","):
            if time.monotonic() - begin > options.minutes * 60:
                skipped.append(name)
            else:
                measure(engines, name, options.rounds)
        every = [*engines, *others]
        print(bench_page.text(every))
        if options.write:
            minutes = (time.monotonic() - begin) / 60
            options.write.write_text(bench_page.page(every, minutes, skipped))
    if options.json:
        options.json.write_text(json.dumps({engine.name: engine.figures for engine in every}, indent=1))
    return 0


def arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="another engine, by the URL of its API; in a network namespace of its own, it is linked to the clients'",
    )
    parser.add_argument("--only", default=",".join(GROUPS), metavar="GROUPS", help=f"groups: {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="number of rounds of every group")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="no group begins later (default: 10)")
    parser.add_argument("--no-others", dest="others", action="store_false", help="no floors, crun, CNI and dnsmasq")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page docs/benchmarks.md to FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measured values to FILE")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return options


def measure(engines: list[Engine], name: str, rounds: int | None) -> None:
    group, usual, seconds = GROUPS[name]
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    begin = time.monotonic()
    with ExitStack() as stack:
        once = [stack.enter_context(group(engine)) for engine in engines]
        for number in range(rounds or usual):
            if number and not rounds and time.monotonic() - begin > seconds:
                break
            for play in once:
                play()
    for engine in engines:
        engine.clean()


if __name__ == "__main__":
    sys.exit(main())
