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
    for name in [name for name in sys.modules if name.startswith("bench_")]:
        del sys.modules[name]


def test_ratios_say_how_many_times_better_netd_is(bench):
    page, engine = bench
    ours, peer, part = engine("netd"), engine("peer"), engine("part")
    for figure, mine, theirs in (("connect, ms", [4.0, 2.0, 3.0], 6.0), ("packets/s", [100.0], 400.0)):
        ours.figures[figure] += mine
        peer.figures[figure].append(theirs)
    part.figures["connect, ms"].append(1.5)
    part.figures["memory for 40 containers, MB"].append(float("nan"))
    lines = page.page([peer, ours, part], 3.4, ["grown"]).splitlines()
    assert "| median | goal | netd | peer | part | × peer | × part |" in lines
    assert "| connect, ms | 4 | 3 | 6 | 1.5 | 2.0 | 0.50 |" in lines, "less is better"
    assert "| packets/s |  | 100 | 400 |  | 0.25 |  |" in lines, "more is better"
    assert not any("memory" in line for line in lines if line.startswith("| ")), "it was not measured"
    assert "- Not measured for lack of time: grown." in lines and any("3 minutes" in line for line in lines)


def test_the_floors_of_the_control_plane_are_measured_with_netds_own_requests():
    command = ["unshare", "--net", sys.executable, str(TOOLS / "bench_floors.py"), "2"]
    found = json.loads(subprocess.check_output(command, timeout=60))
    assert found.keys() == {"network create, ms", "network remove, ms", "connect, ms", "disconnect, ms"}
    assert all(value > 0 for value in found.values())
