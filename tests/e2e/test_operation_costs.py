"""Round trips, hand-overs and syncs of each operation, as ceilings: a regression shows without a clock.

CONTRIBUTING.md tells how to change the table.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.operation_counts.sitecustomize import NAMES
from tests.installation import IMAGE, running_installation

_FOLDER = Path(__file__).parent / "operation_counts"
_ROUNDS, _QUIET = 2, 0.04
"""Rounds, of which the least counts: looks at the kernel and pings happen meanwhile.  Seconds without a count."""

CEILINGS: dict[str, dict[str, dict[str, int]]] = {
    "network create": {
        "netd": {"netlink": 3, "sysctl": 2, "handovers": 3, "durable": 1, "messages": 1},
        "runtime": {"http": 1},
    },
    "network remove": {
        "netd": {"netlink": 2, "handovers": 3, "durable": 1, "messages": 1},
        "runtime": {"http": 1},
    },
    "connect": {
        "netd": {"netlink": 3, "handovers": 3, "messages": 1},
        "runtime": {"handovers": 4, "syncs": 1, "http": 1},
    },
    "disconnect": {
        "netd": {"netlink": 4, "handovers": 3, "messages": 1},
        "runtime": {"handovers": 4, "syncs": 1, "http": 1},
    },
    "container create": {
        "netd": {"messages": 1, "handovers": 1},
        "runtime": {"handovers": 3, "durable": 1, "http": 1},
    },
    "container start": {
        "netd": {"netlink": 4, "handovers": 4, "messages": 1},
        "runtime": {"handovers": 3, "http": 1},
    },
    "container stop": {
        "netd": {"netlink": 2, "handovers": 3, "messages": 1},
        "runtime": {"handovers": 2, "http": 1},
    },
    "container remove": {
        "netd": {"handovers": 1},
        "runtime": {"handovers": 2, "durable": 1, "http": 1},
    },
    "create with a port": {
        "netd": {"messages": 2, "handovers": 1},
        "runtime": {"handovers": 3, "durable": 1, "http": 1},
    },
    "start with a port": {
        "netd": {"netlink": 5, "handovers": 4, "messages": 1},
        "runtime": {"handovers": 3, "http": 1},
    },
    "stop with a port": {
        "netd": {"netlink": 4, "handovers": 4, "messages": 1},
        "runtime": {"handovers": 2, "http": 1},
    },
    "remove with a port": {
        "netd": {"handovers": 1},
        "runtime": {"handovers": 2, "durable": 1, "http": 1},
    },
}
"""Operation → daemon → name of ``NAMES`` → most; 0 for names that are not listed.

A start writes the files of /etc in a separate job beside the preparation of the process.  netd's hand-overs have room
for one more than the operation needs, such as for a check of routes that falls into it.
"""


class Meter:
    """Reads the counts of both daemons."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self) -> dict[str, dict[str, int]]:
        found = {}
        for daemon in ("netd", "runtime"):
            data = Path(f"{self._root}.{daemon}").read_bytes()
            found[daemon] = dict(zip(NAMES, struct.unpack(f"{len(NAMES)}Q", data), strict=True))
        return found

    def settled(self) -> dict[str, dict[str, int]]:
        """Return the counts when nothing has been counted for a moment."""
        found, deadline = self.read(), time.monotonic() + 0.4
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            found, before = self.read(), found
            if found == before:
                break
        return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the least counts of each operation: operation → daemon → name → count."""
    root = tmp_path_factory.mktemp("counts") / "counts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPERATION_COUNTS", str(root))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]))
        with running_installation() as installation:
            meter, least = Meter(root), {}
            play = Operations(installation.docker)
            for number in range(_ROUNDS + 1):
                for name, step in play.steps():
                    before = meter.settled()
                    step()
                    after = meter.settled()
                    found = {
                        daemon: {key: after[daemon][key] - before[daemon][key] for key in NAMES} for daemon in after
                    }
                    if number:  # The first round opens connections and loads modules.
                        least[name] = _least(least[name], found) if name in least else found
            yield least


def _least(first, second):
    return {
        daemon: {key: min(count, second[daemon][key]) for key, count in counts.items()}
        for daemon, counts in first.items()
    }


class Operations:
    def __init__(self, docker) -> None:
        self._docker = docker
        self._network = docker.networks.create("costs")
        self._running = docker.containers.run(IMAGE, ["sleep", "1000"], detach=True)

    def steps(self) -> list[tuple[str, Callable[[], object]]]:
        api, made = self._docker.api, {}

        def create_network() -> None:
            made["network"] = api.create_network("costs-made", driver="bridge")["Id"]

        def create(ports=None) -> None:
            host = api.create_host_config(port_bindings=ports or {})
            made["container"] = api.create_container(
                IMAGE, ["sleep", "1000"], host_config=host, ports=list(ports or ())
            )

        def remove() -> None:
            api.remove_container(made["container"])

        def start() -> None:
            api.start(made["container"])

        def stop() -> None:
            api.stop(made["container"], timeout=0)

        return [
            ("network create", create_network),
            ("network remove", lambda: api.remove_network(made["network"])),
            ("connect", lambda: self._network.connect(self._running)),
            ("disconnect", lambda: self._network.disconnect(self._running)),
            ("container create", create),
            ("container start", start),
            ("container stop", stop),
            ("container remove", remove),
            ("create with a port", lambda: create({80: 18080})),
            ("start with a port", start),
            ("stop with a port", stop),
            ("remove with a port", remove),
        ]


def test_no_operation_needs_more_steps_than_its_ceiling(measured):
    if "SHOW_OPERATION_COSTS" in os.environ:
        _show(measured)
    above = [
        f"{operation}: {daemon} {key} {count}, ceiling {CEILINGS[operation][daemon].get(key, 0)}"
        for operation, daemons in measured.items()
        for daemon, counts in daemons.items()
        for key, count in counts.items()
        if count > CEILINGS[operation][daemon].get(key, 0)
    ]
    assert not above, "\n".join(above)


def _show(measured) -> None:
    """Print the counts in the form of the table."""
    for operation, daemons in measured.items():
        shown = {daemon: {key: n for key, n in counts.items() if n} for daemon, counts in daemons.items()}
        print(f"    {operation!r}: {shown},", file=sys.stderr)
