"""tools/quickstart: the demonstration in a separate namespace, and its messages on conflicts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.conftest import ROOT

APART = [str(ROOT / "tools/apart")]
PROGRAM = [sys.executable, str(ROOT / "tools/quickstart.py")]


def call(words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=100, **options)


def trials():
    return set(Path("/tmp").glob("netd-try-*"))


@pytest.fixture
def inside(tmp_path):
    """Run the part of --try that stands in the namespace, after a shell command that prepares it."""

    def run(prepare):
        script = f'{prepare}\nexec "$0" "$1" --inside {tmp_path}'
        return call([*APART, "bash", "-c", script, *PROGRAM])

    return run


def test_try_does_the_main_job_and_leaves_nothing(tmp_path):
    before, links = trials(), call(["ip", "-o", "link"]).stdout
    done = call([*PROGRAM, "--try"])
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("subnet 172.18.0.0/16: it is free", " 0% packet loss", "Hello from a container", '"MacAddress"'):
        assert shown in done.stdout
    assert "Everything worked." in done.stdout
    assert trials() == before and call(["ip", "-o", "link"]).stdout == links


def test_a_taken_subnet_and_a_taken_port_are_gone_round(inside):
    prepare = """
    ip link add other type bridge && ip addr add 172.18.5.1/24 dev other && ip link set other up
    busybox nc -l -p 8080 &
    until grep -q :1F90 /proc/net/tcp /proc/net/tcp6; do sleep 0.01; done
    """
    done = inside(prepare)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "172.18.0.0/16 is taken by this host's route to 172.18.5.0/24" in done.stdout
    assert "172.19.0.0/16" in done.stdout and "http://127.0.0.1:8081/" in done.stdout


def test_a_daemon_that_does_not_start_is_a_failure_with_its_reason(inside, tmp_path):
    done = inside(f"mkdir {tmp_path}/state; touch {tmp_path}/run")
    assert done.returncode == 1
    assert "netd does not answer" in done.stderr and "That failed." in done.stdout


def test_unknown_options_are_refused_and_help_is_shown(tool):
    refused = tool("quickstart", "--nonsense")
    assert refused.returncode == 2 and "--check" in refused.stdout
    assert tool("quickstart", "--help").stdout.count("sudo tools/quickstart") == 4
