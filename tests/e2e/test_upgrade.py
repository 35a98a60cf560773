"""Upgrade from the previous commit to this one and back, with traffic between containers and from outside."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.installation import Installation

ROOT = Path(__file__).resolve().parents[2]
TRAFFIC = Path(__file__).with_name("traffic.py")
PORT = "7000"


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """The code of the previous commit; in a checkout without history, a second copy of this one."""
    folder = tmp_path_factory.mktemp("previous")
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    archive = folder / "code.tar"
    found = subprocess.run([*git, "archive", "--output", archive, "HEAD~1", "netd", "runtime"], capture_output=True)
    if found.returncode == 0:
        with tarfile.open(archive) as tar:
            tar.extractall(folder)
    else:
        for package in ("netd", "runtime"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Traffic:
    """Programs that exchange messages until they are stopped."""

    def __init__(self, place):
        self.place = place
        self.programs = {}

    def start(self, where, *words):
        """Start a program in the network namespace of the container *where*, or of the host; it has begun on return."""
        target = [f"--net=/run/netns/{self.place.host}"]
        if where != "host":
            target = ["-t", str(self.place.inspect(where)["State"]["Pid"]), "-n"]
        program = subprocess.Popen(
            ["nsenter", *target, sys.executable, str(TRAFFIC), *words], stdout=subprocess.PIPE, text=True
        )
        self.programs[" ".join((where, *words))] = program
        assert program.stdout is not None and program.stdout.readline() == "first []\n"

    def stop(self):
        """Stop all programs and return the counts of the clients."""
        counts = {}
        for name, program in reversed(self.programs.items()):  # the server last
            program.send_signal(signal.SIGTERM)
            output, _ = program.communicate(timeout=20)
            if output:
                counts[name] = json.loads(output)
        return counts


@pytest.fixture
def place(previous):
    place = Installation()
    place.source = previous
    try:
        place.start()
        place.load_busybox()
        yield place
    finally:
        place.destroy()


def replace(place, source, *names):
    """Replace the daemons as tools/install does: stop the old one, start the new one."""
    place.source = source
    for name in names:
        place.kill(name, signal.SIGTERM)
        place.start(name)


def works(place, name):
    """Run a new container that resolves and reaches the server by its name; execute a program in the old one."""
    place.netctl("run", "--rm", "--name", name, "--network", "shop", "busybox", "ping", "-c", "1", "-W", "5", "server")
    assert place.netctl("exec", "server", "echo", "yes").stdout == "yes\n"


def test_traffic_continues_while_the_daemons_are_replaced_by_newer_and_older_ones(place, previous):
    place.netctl("network", "create", "shop")
    sleep = ("--network", "shop", "busybox", "sleep", "100000")
    place.netctl("run", "-d", "--name", "server", "-p", f"{PORT}:{PORT}", *sleep)
    place.netctl("run", "-d", "--name", "client", *sleep)
    ids = [place.inspect(name)["Id"] for name in ("server", "client")]
    address = place.inspect("server")["NetworkSettings"]["Networks"]["shop"]["IPAddress"]
    traffic = Traffic(place)
    try:
        traffic.start("server", "echo", PORT)
        traffic.start("client", "stream", address, PORT)
        traffic.start("client", "connections", address, PORT)
        traffic.start("client", "questions", "server")
        traffic.start("host", "stream", "127.0.0.1", PORT)
        traffic.start("host", "connections", "127.0.0.1", PORT)
        for number, source in enumerate((None, previous, None)):
            replace(place, source, "netd", "runtime")
            works(place, f"new{number}")
    finally:
        counts = traffic.stop()
    assert len(counts) == 5
    for name, count in counts.items():
        assert count["exchanges"] > 50 and not count["failures"], (name, count)
    assert [place.inspect(name)["Id"] for name in ("server", "client")] == ids
    for name in ("netd", "runtime"):
        assert "Traceback" not in place.log(name)
