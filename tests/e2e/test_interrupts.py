"""Ctrl-C in netctl: exit code 130, no traceback of netctl or a daemon, and nothing half-made stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import busybox_tar, wait_until


@pytest.fixture
def writer(installation):
    """A container that writes lines until the test ends."""
    installation.netctl(
        "run", "-d", "--name", "writer", "busybox", "sh", "-c", "while :; do echo line; sleep 0.1; done"
    )
    return "writer"


def start(installation, *words, stdin=subprocess.DEVNULL):
    return subprocess.Popen(
        [sys.executable, "-m", "netd.cli.main", *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "NETD_RUN_DIR": str(installation.run)},
    )


def interrupt(installation, process):
    """Send SIGINT; check the exit code, the output on standard error and the daemons' logs."""
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert (process.returncode, errors) == (130, b"")
    assert "Traceback" not in installation.log("netd") + installation.log("runtime")


@pytest.mark.parametrize("words", [("logs", "-f"), ("attach", "--sig-proxy=false"), ("stats",)])
def test_commands_that_follow_a_container(installation, writer, words):
    process = start(installation, *words, writer)
    assert process.stdout is not None and process.stdout.readline()
    interrupt(installation, process)
    assert installation.inspect(writer)["State"]["Running"]


def test_a_run_ends_its_program_and_is_removed(installation):
    script = 'trap "exit 130" INT; echo ready; while :; do sleep 0.05; done'
    process = start(installation, "run", "--rm", "--name", "brief", "busybox", "sh", "-c", script)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    interrupt(installation, process)
    wait_until(lambda: not installation.netctl("ps", "-aq", "--filter", "name=brief").stdout)


def test_an_import_leaves_no_image_and_no_layer(installation):
    def files():
        return sorted(path.name for folder in ("layers", "tmp") for path in (installation.state / folder).rglob("*"))

    before, images = files(), installation.netctl("image", "ls", "-aq").stdout
    read, write = os.pipe()
    try:
        process = start(installation, "image", "import", "-", "partial", stdin=read)
        os.close(read)
        os.write(write, busybox_tar()[:200_000])
        wait_until(lambda: files() != before)
        interrupt(installation, process)
    finally:
        os.close(write)
    wait_until(lambda: files() == before)
    assert installation.netctl("image", "ls", "-aq").stdout == images


def test_a_build_leaves_no_container(installation, tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN sleep 1000\n")
    before = installation.netctl("ps", "-aq").stdout
    process = start(installation, "build", str(tmp_path))
    assert process.stdout is not None
    assert any(b"Running in" in line for line in process.stdout)
    interrupt(installation, process)
    wait_until(lambda: installation.netctl("ps", "-aq").stdout == before)
