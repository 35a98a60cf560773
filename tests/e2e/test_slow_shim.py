"""A process has ended, and its shim is slow to report it: the network is released, and requests wait for the exit."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.installation import IMAGE, wait_until


@pytest.fixture
def ended(installation):
    """A container on the network ``n`` whose process is killed while its shim is stopped; and the shim's pid."""
    docker = installation.docker
    network = docker.networks.create("n")
    made = docker.containers.run(IMAGE, ["sleep", "1000"], detach=True, network="n", name="slow")
    pid = docker.api.inspect_container(made.id)["State"]["Pid"]
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        yield made, network, shim
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(shim, signal.SIGCONT)
    wait_until(lambda: docker.api.inspect_container(made.id)["State"]["Status"] == "exited")


def test_the_network_is_released_before_the_shim_reports_the_exit(installation, ended):
    made, network, _ = ended
    api = installation.docker.api
    wait_until(lambda: not api.inspect_network(network.id)["Containers"])
    assert api.inspect_container(made.id)["State"]["Status"] == "running"


def test_a_connect_meanwhile_waits_for_the_exit_and_applies_to_the_next_start(installation, ended):
    made, network, shim = ended
    api, second = installation.docker.api, installation.docker.networks.create("second")
    wait_until(lambda: not api.inspect_network(network.id)["Containers"])
    connecting = threading.Thread(target=second.connect, args=(made,))
    connecting.start()
    os.kill(shim, signal.SIGCONT)
    connecting.join()
    wait_until(lambda: api.inspect_container(made.id)["State"]["Status"] == "exited")
    made.start()
    assert set(api.inspect_container(made.id)["NetworkSettings"]["Networks"]) == {"n", "second"}
    made.kill()
