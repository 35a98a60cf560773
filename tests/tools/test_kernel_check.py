"""The messages of tools/test on a machine that cannot run the tests."""

import os
import subprocess
import sys

from tests.tools.conftest import ROOT

APART = [str(ROOT / "tools/apart")]
CHECK = [sys.executable, str(ROOT / "tools/kernel_check.py")]


def test_a_machine_that_has_everything_is_told_nothing():
    done = subprocess.run([*APART, *CHECK], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_named():
    weaker = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    done = subprocess.run([*APART, *weaker, *CHECK], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "lacks bridges and pairs of virtual links" in done.stderr and "lacks nftables" in done.stderr
    assert "lacks legacy iptables" in done.stderr
    assert "control groups" not in done.stderr


def test_tools_test_needs_root(tool):
    done = tool("test", user=65534, group=65534, extra_groups=[], env={"PATH": os.environ["PATH"]})
    assert done.returncode == 1 and "root" in done.stderr
