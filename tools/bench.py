"""Compare engines: every engine executes the same rounds, and in each round the engines are measured in turn.

Prints medians, netd's goals, and how many times better netd is than each other engine.  With --write, it writes
docs/benchmarks.md.  No group begins after the given minutes.  With --add, the groups of an earlier run that this run
does not measure are added; the page states when each group was measured, and under which load.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_page
from bench_engine import Engine
from bench_groups import control, growth, names, traffic
from bench_hosts import OUTSIDE, namespace, own, peer
from bench_others import columns
from bench_page import GroupRun

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
    runs: dict[str, GroupRun] = {}
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
                runs[name] = measure(engines, name, options.rounds)
        every = [*engines, *others]
        for path in options.add:
            add_run(every, runs, json.loads(path.read_text()))
        print(bench_page.text(every))
        if options.write:
            options.write.write_text(bench_page.page(every, runs, [name for name in skipped if name not in runs]))
    if options.json:
        figures = {engine.name: engine.figures for engine in every}
        content = {"figures": figures, "groups": {name: asdict(run) for name, run in runs.items()}}
        options.json.write_text(json.dumps(content, indent=1))
    return 0


def add_run(engines: list[Engine], runs: dict[str, GroupRun], earlier: Any) -> None:
    """Add the groups of an earlier run that were not measured in this one, with their figures of all engines."""
    for name, found in earlier["groups"].items():
        if name in runs:
            continue
        runs[name] = GroupRun(**found)
        for engine in engines:
            for figure in found["figures"]:
                if values := earlier["figures"].get(engine.name, {}).get(figure):
                    engine.figures[figure] = values


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
    parser.add_argument("--minutes", type=float, default=20, metavar="N", help="no group begins later (default: 20)")
    parser.add_argument("--no-others", dest="others", action="store_false", help="no floors, crun, CNI and dnsmasq")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page docs/benchmarks.md to FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measured values to FILE, for --add")
    parser.add_argument(
        "--add",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="add groups of an earlier run, from its --json",
    )
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return options


def measure(engines: list[Engine], name: str, rounds: int | None) -> GroupRun:
    group, usual, seconds = GROUPS[name]
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    begin, loads = time.monotonic(), [os.getloadavg()[0]]
    before = {figure: len(values) for engine in engines for figure, values in engine.figures.items()}
    with ExitStack() as stack:
        once = [stack.enter_context(group(engine)) for engine in engines]
        for number in range(rounds or usual):
            if number and not rounds and time.monotonic() - begin > seconds:
                break
            for play in once:
                play()
    for engine in engines:
        engine.clean()
    measured = {figure for engine in engines for figure, values in engine.figures.items() if values}
    loads.append(os.getloadavg()[0])
    return GroupRun(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        seconds=time.monotonic() - begin,
        loads=loads,
        figures=sorted(measured - before.keys()),
    )


if __name__ == "__main__":
    sys.exit(main())
