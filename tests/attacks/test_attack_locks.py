"""Two daemons never share state or a network namespace, and a killed one is replaced at once."""

import subprocess
import sys

import pytest

from tests.installation import Installation

NOBODY = 65534


@pytest.fixture
def house():
    place = Installation()
    yield place
    place.destroy()


def second(house, program, *flags, within=()):
    words = [*(within or house.within), sys.executable, "-m", program, "--config", house.config, *flags]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)


def test_a_second_runtime_on_the_same_state_is_refused_and_containers_live(house):
    house.start()
    house.load_busybox()
    house.netctl("run", "-d", "--name", "victim", "busybox", "sleep", "1000")
    done = second(house, "runtime", "--state-dir", house.state, "--run-dir", house.root / "other")
    assert done.returncode == 1
    assert (
        f"another netd-runtime keeps its state in {house.state} (process {house.processes['runtime'].pid})"
        in done.stderr
    )
    assert house.inspect("victim")["State"]["Running"]
    house.kill("runtime")
    house.start("runtime")
    assert house.inspect("victim")["State"]["Running"]


def test_a_second_netd_in_the_same_namespace_is_refused_and_links_live(house):
    house.start("netd")
    apart = ("--state-dir", house.root / "s", "--run-dir", house.root / "r")
    done = second(house, "netd", *apart)
    assert done.returncode == 1
    assert f"another netd (process {house.processes['netd'].pid}) manages this network namespace" in done.stderr
    assert house.on_host("ip", "link", "show", "netd0").returncode == 0
    house.kill("netd")
    house.start("netd")
    assert house.leftovers(), "netd-dns outlives netd and holds no lock"


def test_the_name_of_the_namespace_taken_by_another_user_does_not_keep_netd_away(house):
    code = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.bind('\\0netd.namespace')\n"
        "s.listen()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    words = [*house.within, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with subprocess.Popen([*words, "/usr/bin/python3", "-c", code], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            house.start("netd")
        finally:
            holder.kill()
    assert "another user holds its name" in house.log("netd")
