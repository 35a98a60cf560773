"""Starts without a request: what is missing for a while is waited for, and dependencies come first."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.installation import IMAGE, wait_until
from tests.raw_client import RawClient

ALWAYS = {"Name": "always"}


def call(installation, method, path, body=None):
    return RawClient(installation.run / "docker.sock").call(method, path, body)


def create(installation, name, *, policy=ALWAYS, start=True, **host):
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"RestartPolicy": policy, **host}}
    made = call(installation, "POST", f"/containers/create?name={name}", body)[1]["Id"]
    if start:
        assert call(installation, "POST", f"/containers/{made}/start") == (204, None)
    return made


def inspect(installation, container):
    return call(installation, "GET", f"/containers/{container}/json")[1]


def state(installation, container):
    return inspect(installation, container)["State"]


def runs(installation, container):
    return state(installation, container)["Status"] == "running"


def end(installation, container):
    """Kill the program as something outside the daemons does."""
    os.kill(state(installation, container)["Pid"], signal.SIGKILL)


def attempts_logged(installation, container, since=0):
    text = (installation.root / "runtime.log").read_text()[since:]
    return [line for line in text.splitlines() if "will be retried" in line and container[:12] in line]


def test_a_container_that_ends_while_netd_is_away_runs_again_when_netd_is_back(installation):
    made = create(installation, "c")
    installation.kill("netd")
    end(installation, made)
    wait_until(lambda: "netd.sock" in state(installation, made)["Error"])
    assert state(installation, made)["Status"] == "restarting"
    wait_until(lambda: attempts_logged(installation, made))
    installation.start("netd")
    wait_until(lambda: runs(installation, made))
    assert len(attempts_logged(installation, made)) == 1
    shown = inspect(installation, made)
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] and not shown["State"]["Error"]


def test_a_start_shortly_after_the_return_of_netd_replaces_the_former_sandbox(installation):
    made = create(installation, "c", policy={"Name": "no"})
    installation.kill("netd")
    end(installation, made)
    wait_until(lambda: state(installation, made)["Status"] == "exited")
    installation.kill("runtime")  # so that nothing deletes the sandbox between netd's return and the start
    installation.start("netd", "runtime")
    assert call(installation, "POST", f"/containers/{made}/start") == (204, None)
    assert runs(installation, made)


def test_after_a_reboot_dependencies_start_first(installation):
    donor = create(installation, "donor")
    names = {
        "by-network": create(installation, "by-network", NetworkMode=f"container:{donor}"),
        "by-pid": create(installation, "by-pid", PidMode=f"container:{donor}", NetworkMode="none"),
        "by-link": create(installation, "by-link", Links=["donor:d"]),
        "by-volumes": create(installation, "by-volumes", VolumesFrom=["donor"], NetworkMode="none"),
    }
    second = create(installation, "second", NetworkMode=f"container:{names['by-network']}")
    everyone = [donor, *names.values(), second]
    pids = [state(installation, made)["Pid"] for made in everyone]
    installation.kill("runtime")
    installation.kill("netd")
    for pid in (*pids, *installation.leftovers()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    runtime = threading.Thread(target=installation.start, args=("runtime",))
    runtime.start()  # both daemons start together
    installation.start("netd")
    runtime.join()
    wait_until(lambda: all(runs(installation, made) for made in everyone))
    started = {made: state(installation, made)["StartedAt"] for made in everyone}
    assert min(started.values()) == started[donor]
    assert started[names["by-network"]] < started[second]


def test_a_missing_address_a_busy_port_and_a_donor_are_waited_for(installation):
    installation.on_host("ip", "addr", "add", "10.99.0.1/32", "dev", "lo", check=True)
    port = {"80/tcp": [{"HostIp": "10.99.0.1", "HostPort": "8080"}]}
    donor = create(installation, "donor", PortBindings=port)
    other = create(installation, "other", NetworkMode=f"container:{donor}")
    bound = create(installation, "bound", Binds=[f"{installation.root}/mounted:/m"])
    busy = create(installation, "busy", PortBindings={"80/tcp": [{"HostPort": "8098"}]})
    everyone = (donor, other, bound, busy)
    pids = [state(installation, made)["Pid"] for made in everyone]
    installation.kill("runtime", signal.SIGTERM)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    installation.on_host("ip", "addr", "del", "10.99.0.1/32", "dev", "lo", check=True)
    os.rename(installation.root / "mounted", installation.root / "unmounted")
    call_netd = RawClient(installation.run / "netd.sock").call
    wait_until(lambda: call_netd("DELETE", f"/netd/v1/sandboxes/{busy}")[0] == 204)
    listener = subprocess.Popen([*installation.within, "busybox", "nc", "-l", "-p", "8098"], stdin=subprocess.DEVNULL)
    wait_until(lambda: "8098" in installation.on_host("ss", "-ltn").stdout)
    installation.start("runtime")
    wait_until(lambda: all(state(installation, made)["Error"] for made in everyone))
    assert {state(installation, made)["Status"] for made in everyone} == {"restarting"}
    listener.kill()
    listener.wait()
    os.rename(installation.root / "unmounted", installation.root / "mounted")
    installation.on_host("ip", "addr", "add", "10.99.0.1/32", "dev", "lo", check=True)
    wait_until(lambda: all(runs(installation, made) for made in everyone))
    assert all(len(attempts_logged(installation, made)) <= 2 for made in everyone)
    installation.on_host("ip", "addr", "del", "10.99.0.1/32", "dev", "lo")


def test_what_never_ends_is_not_waited_for_and_a_wait_can_be_stopped(installation):
    donor = create(installation, "donor", policy={"Name": "no"})
    other = create(installation, "other", NetworkMode=f"container:{donor}")
    call(installation, "DELETE", f"/containers/{donor}?force=1")
    end(installation, other)
    wait_until(lambda: state(installation, other)["Status"] == "exited")
    assert "No such container" in state(installation, other)["Error"]
    waiting = create(installation, "waiting")
    installation.kill("netd")
    end(installation, waiting)
    wait_until(lambda: state(installation, waiting)["Error"])
    assert call(installation, "POST", f"/containers/{waiting}/stop") == (204, None)
    installation.start("netd")
    assert state(installation, waiting)["Status"] == "exited"


def test_removal_waits_for_a_start_under_way(installation):
    for count in range(10):
        made = create(installation, f"c{count}", policy={"Name": "no"}, start=False)
        with ThreadPoolExecutor(1) as pool:
            start = pool.submit(call, installation, "POST", f"/containers/{made}/start")
            assert call(installation, "DELETE", f"/containers/{made}?force=1") == (204, None)
            assert start.result()[0] in (204, 404)
    assert call(installation, "GET", "/containers/json?all=1") == (200, [])
