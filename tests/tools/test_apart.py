"""tools/apart: isolation from the machine's network, and the end of all processes with the command."""

import os
import subprocess
import time

from tests.tools.conftest import ROOT

PROBE = "busybox ip -o link | wc -l; echo $$; sleep 100.25 >&- 2>&- & exit 7"


def test_a_command_has_only_loopback_and_its_exit_code_comes_back(tool):
    done = tool("apart", "sh", "-c", PROBE)
    assert (done.returncode, done.stdout.split()) == (7, ["1", "2"])
    left = subprocess.run(["busybox", "pgrep", "-f", "^sleep 100.25"], capture_output=True, text=True).stdout
    assert left == ""


def test_it_ends_with_its_parent(tmp_path):
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    command = [str(ROOT / "tools/apart"), "sh", "-c", f"echo up >{ready}; exec sleep 100.5"]
    with subprocess.Popen(command) as outer:
        assert ready.read_text() == "up\n"
        outer.kill()
    deadline = time.monotonic() + 30
    while subprocess.run(["busybox", "pgrep", "-f", "^sleep 100.5"], capture_output=True).returncode == 0:
        assert time.monotonic() < deadline
