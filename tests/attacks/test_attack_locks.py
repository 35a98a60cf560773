"""Two daemons never share state or a network namespace, and a killed one is replaced at once."""

import subprocess
import sys

import pytest

from tests.installation import Installation

NOBODY = 65534


@pytest.fixture
def installation():
    place = Installation()
    yield place
    place.destroy()


def second(installation, program, *flags, within=()):
    words = [*(within or installation.within), sys.executable, "-m", program, "--config", installation.config, *flags]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)


def test_a_second_runtime_on_the_same_state_is_refused_and_containers_live(installation):
    installation.start()
    installation.load_busybox()
    installation.netctl("run", "-d", "--name", "victim", "busybox", "sleep", "1000")
    done = second(installation, "runtime", "--state-dir", installation.state, "--run-dir", installation.root / "other")
    assert done.returncode == 1
    pid = installation.processes["runtime"].pid
    assert f"another netd-runtime keeps its state in {installation.state} (process {pid})" in done.stderr
    assert installation.inspect("victim")["State"]["Running"]
    installation.kill("runtime")
    installation.start("runtime")
    assert installation.inspect("victim")["State"]["Running"]


def test_a_second_netd_in_the_same_namespace_is_refused_and_links_live(installation):
    installation.start("netd")
    apart = ("--state-dir", installation.root / "s", "--run-dir", installation.root / "r")
    done = second(installation, "netd", *apart)
    assert done.returncode == 1
    assert f"another netd (process {installation.processes['netd'].pid}) manages this network namespace" in done.stderr
    assert installation.on_host("ip", "link", "show", "netd0").returncode == 0
    installation.kill("netd")
    installation.start("netd")
    assert installation.leftovers(), "netd-dns outlives netd and holds no lock"


def test_the_name_of_the_namespace_taken_by_another_user_does_not_keep_netd_away(installation):
    code = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.bind('\\0netd.namespace')\n"
        "s.listen()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    words = [*installation.within, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with subprocess.Popen([*words, "/usr/bin/python3", "-c", code], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            installation.start("netd")
        finally:
            holder.kill()
    assert "another user holds its name" in installation.log("netd")
