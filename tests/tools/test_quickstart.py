"""tools/quickstart: the demonstration in a separate namespace, and its messages on conflicts."""

import os
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
    assert refused.returncode == 2 and "--nonsense" in refused.stderr and not refused.stdout
    assert tool("quickstart", "--help").stdout.count("sudo tools/quickstart") == 5


def test_remove_takes_only_what_the_demonstration_made_and_purges_only_when_asked(tmp_path):
    script = """
    export PATH="$(dirname "$0"):$PATH"
    "$0" "$1" && netctl run -d --name mine busybox sleep 1000 && netctl network create yours || exit 3
    "$0" "$1" --remove </dev/null && netctl ps --all && netctl network ls && "$0" "$1" --remove --purge --yes
    """
    places = {"NETD_STATE_DIR": str(tmp_path / "state"), "NETD_RUN_DIR": str(tmp_path / "run")}
    done = call([*APART, "bash", "-c", script, *PROGRAM], env={**os.environ, **places})
    assert done.returncode == 0, done.stdout + done.stderr
    _, first, second = done.stdout.split("and remove everything with")[1].partition("They stay, and so do the daemons.")
    listed, table = done.stdout.split("There is more than the demonstration:")[1], second.split("NAMES")[1]
    assert first and "container mine" in listed and "network yours" in listed and "image sha256:" in listed
    assert "quickstart-web" not in table.split("removed")[0] and "mine" in table and "yours" in table
    assert not list(tmp_path.iterdir())


def test_remove_without_daemons_deletes_nothing(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    places = {"NETD_STATE_DIR": str(state), "NETD_RUN_DIR": str(tmp_path / "run")}
    refused = call([*PROGRAM, "--remove", "--purge", "--yes"], env={**os.environ, **places})
    assert refused.returncode == 1 and "netd and netd-runtime not running" in refused.stderr
    assert state.exists()
