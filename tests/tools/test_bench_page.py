"""The page that tools/bench writes: which ratios it shows, and what it leaves empty."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import bench_engine
    import bench_page

    yield bench_page, bench_engine.Engine
    for name in [name for name in sys.modules if name.startswith("bench")]:
        del sys.modules[name]


def test_ratios_say_how_many_times_better_netd_is(bench):
    page, engine = bench
    ours, peer, part = engine("netd"), engine("peer"), engine("part")
    for figure, mine, theirs in (("connect, ms", [4.0, 2.0, 3.0], 6.0), ("packets/s", [100.0], 400.0)):
        ours.figures[figure] += mine
        peer.figures[figure].append(theirs)
    part.figures["connect, ms"].append(1.5)
    part.figures["memory for 40 containers, MB"].append(float("nan"))
    runs = {"connecting": page.GroupRun("2026-12-01 03:00", 41.4, [0.25, 1.5], ["connect, ms"])}
    lines = page.page([peer, ours, part], runs, ["grown"]).splitlines()
    assert "| median | goal | netd | peer | part | × peer | × part |" in lines
    assert "| connect, ms | 4 | 3 | 6 | 1.5 | 2.0 | 0.50 |" in lines, "less is better"
    assert "| packets/s |  | 100 | 400 |  | 0.25 |  |" in lines, "more is better"
    assert not any("memory" in line for line in lines if line.startswith("| ")), "it was not measured"
    assert "- Not measured for lack of time: grown." in lines
    assert any("connecting 2026-12-01 03:00 (41 s, load 0.2 to 1.5)." in line for line in lines)


def test_groups_of_an_earlier_run_are_added_unless_they_were_measured_again(bench):
    page, engine = bench
    import bench as command

    ours, peer = engine("netd"), engine("peer")
    ours.figures["connect, ms"].append(3.0)
    runs = {"connecting": page.GroupRun("2026-12-01 03:00", 41.4, [0.25, 1.5], ["connect, ms"])}
    earlier = {
        "figures": {"netd": {"connect, ms": [9.0], "packets/s": [100.0]}, "peer": {"packets/s": [50.0]}},
        "groups": {
            "connecting": {"date": "2026-11-30 01:00", "seconds": 1, "loads": [9, 9], "figures": ["connect, ms"]},
            "traffic": {"date": "2026-11-30 01:02", "seconds": 2, "loads": [8, 9], "figures": ["packets/s"]},
        },
    }
    command.add_run([ours, peer], runs, earlier)
    assert (ours.figures["connect, ms"], ours.figures["packets/s"], peer.figures["packets/s"]) == ([3], [100], [50])
    assert [run.date for run in runs.values()] == ["2026-12-01 03:00", "2026-11-30 01:02"]


def test_the_floors_of_the_control_plane_are_measured_with_netds_own_requests():
    command = ["unshare", "--net", sys.executable, str(TOOLS / "bench_floors.py"), "2"]
    found = json.loads(subprocess.check_output(command, timeout=60))
    assert found.keys() == {"network create, ms", "network remove, ms", "connect, ms", "disconnect, ms"}
    assert all(value > 0 for value in found.values())
