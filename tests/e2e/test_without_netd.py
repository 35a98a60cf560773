"""Containers that need no network start without netd, and are in netd's records when it answers again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading

import pytest

from netd.api import SandboxRequest
from netd.client import NetdClient
from tests.installation import IMAGE, needs_host_namespaces, wait_until
from tests.raw_client import RawClient

INSIDE = """ip addr; ip route; cat /etc/hosts /etc/resolv.conf
cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range /proc/sys/net/core/somaxconn
ping -c 1 -W 5 127.0.0.1 >/dev/null && echo reachable"""


def call(installation, method, path, body=None):
    return RawClient(installation.run / "docker.sock").call(method, path, body)


def run(installation, name, **host):
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none", **host}}
    made = call(installation, "POST", f"/containers/create?name={name}", body)[1]["Id"]
    return made, call(installation, "POST", f"/containers/{made}/start")


def inspect(installation, container):
    return call(installation, "GET", f"/containers/{container}/json")[1]


def endpoint(installation, container):
    """Return the id of the container's first endpoint, which only netd assigns."""
    networks = inspect(installation, container)["NetworkSettings"]["Networks"]
    return next(iter(networks.values()))["EndpointID"] if networks else ""


def shell(installation, container, script):
    return installation.netctl("exec", container, "sh", "-c", script).stdout


def members(installation, network):
    return call(installation, "GET", f"/networks/{network}")[1]["Containers"]


def namespace(pid):
    return os.stat(f"/proc/{pid}/ns/net").st_ino


@pytest.fixture
def away(installation):
    """The installation without netd, which the test may start again."""
    installation.kill("netd")
    yield installation
    if "netd" not in installation.processes:
        installation.start("netd")


def back(installation, *containers):
    installation.start("netd")
    for container in containers:
        wait_until(lambda container=container: endpoint(installation, container))


def test_a_container_with_network_none_is_the_same_without_netd(installation):
    options = {"ExtraHosts": ["printer:192.0.2.7"], "Dns": ["192.0.2.53"], "DnsSearch": ["corp.test"]}
    options["Sysctls"] = {"net.core.somaxconn": "777"}
    usual = run(installation, "usual", **options)[0]
    expected = shell(installation, usual, INSIDE)
    assert "reachable" in expected and "777" in expected and expected.count("UP") == 2
    installation.kill("netd")
    made, answer = run(installation, "c", **options)
    assert answer == (204, None)
    assert shell(installation, made, INSIDE) == expected
    pid = inspect(installation, made)["State"]["Pid"]
    assert namespace(pid) != namespace(installation.processes["runtime"].pid)
    back(installation, made)
    assert inspect(installation, made)["State"]["Pid"] == pid
    assert shell(installation, made, INSIDE) == expected
    assert made in members(installation, "none")


def test_a_container_that_was_started_without_netd_can_change_its_networks_later(away):
    made = run(away, "c", ExtraHosts=["box:host-gateway"])[0]
    assert "box" not in shell(away, made, "cat /etc/hosts")
    shell(away, made, "echo 192.0.2.9 mine >>/etc/hosts")
    back(away, made)
    assert endpoint(away, made)
    hosts = shell(away, made, "cat /etc/hosts")
    assert "172.17.0.1\tbox" in hosts and "192.0.2.9 mine" in hosts
    away.netctl("network", "disconnect", "none", made)
    away.netctl("network", "create", "n")
    away.netctl("network", "connect", "n", made)
    away.netctl("run", "-d", "--name", "peer", "--network", "n", IMAGE, "sleep", "1000")
    assert "0% packet loss" in shell(away, made, "ping -c 1 -W 5 peer")
    assert "0% packet loss" in shell(away, "peer", "ping -c 1 -W 5 c")


@needs_host_namespaces
def test_containers_on_the_hosts_network_and_on_another_containers_start_without_netd(away):
    on_host, answer = run(away, "h", NetworkMode="host")
    assert answer == (204, None)
    assert namespace(inspect(away, on_host)["State"]["Pid"]) == namespace(away.processes["runtime"].pid)
    donor = run(away, "donor")[0]
    joined, answer = run(away, "joined", NetworkMode=f"container:{donor}")
    assert answer == (204, None)
    pids = [inspect(away, name)["State"]["Pid"] for name in (donor, joined)]
    assert namespace(pids[0]) == namespace(pids[1])
    back(away, on_host, donor)
    assert set(members(away, "host")) == {on_host} and set(members(away, "none")) == {donor}


def test_other_networks_are_refused_with_the_way_to_start_netd(away):
    status, answer = run(away, "c", NetworkMode="bridge")[1]
    assert status == 503
    assert answer["message"] == (
        f"failed to set up container networking: netd is not running ({away.run}/netd.sock: Connection refused):"
        f" start it with 'netd --run-dir {away.run}'"
    )
    host = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "81"}]}}
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": host}
    assert call(away, "POST", "/containers/create?name=p", body)[0] == 201


def test_automatic_starts_and_requests_work_while_netd_is_away(away):
    made = run(away, "c", RestartPolicy={"Name": "always"})[0]
    first = inspect(away, made)["State"]["Pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: inspect(away, made)["State"]["Pid"] not in (0, first))
    assert call(away, "POST", f"/containers/{made}/rename?name=other") == (204, None)
    assert call(away, "POST", f"/containers/{made}/restart?t=0") == (204, None)
    back(away, made)
    assert members(away, "none")[made]["Name"] == "other"


def test_both_daemons_may_be_killed_before_netd_is_back(away):
    made = run(away, "c")[0]
    pid = inspect(away, made)["State"]["Pid"]
    away.kill("runtime")
    away.start("runtime")
    second = run(away, "d")[0]
    back(away, made, second)
    assert inspect(away, made)["State"]["Pid"] == pid
    assert set(members(away, "none")) == {made, second}
    away.kill("netd")
    away.start("netd")
    assert set(members(away, "none")) == {made, second}


def test_a_sandbox_with_another_namespace_is_replaced(away):
    """As netd leaves it when it carries out a request that the runtime no longer waited for."""
    made = run(away, "c")[0]
    away.kill("runtime")
    away.start("netd")

    async def create():
        client = NetdClient(away.run / "netd.sock")
        view = await client.create_sandbox(SandboxRequest(id=made, name="c", network_mode="none"))
        await client.close()
        return view.network_settings.networks["none"].endpoint_id

    stray = asyncio.run(create())
    away.start("runtime")
    wait_until(lambda: endpoint(away, made) not in ("", stray))
    mounted = os.stat(away.run / "netns" / made[:12]).st_ino
    assert mounted == namespace(inspect(away, made)["State"]["Pid"])


def test_a_netd_that_ends_during_the_request_is_no_hindrance(away):
    path = away.run / "netd.sock"
    path.unlink()
    requests = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(16)

        def serve():
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nNetd-Calls: 1\r\n\r\n")
                    requests.append(connection.recv(65536))

        thread = threading.Thread(target=serve)
        thread.start()
        made, answer = run(away, "c")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    path.unlink()
    assert any(b"/netd/v1/sandboxes" in request for request in requests) and answer == (204, None)
    back(away, made)


def test_a_container_that_ends_without_netd_leaves_no_namespace(away):
    made = run(away, "c")[0]
    inode = namespace(inspect(away, made)["State"]["Pid"])
    assert call(away, "DELETE", f"/containers/{made}?force=1") == (204, None)
    listed = subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=True).stdout
    assert str(inode) not in listed.split()
    assert not [name for name in os.listdir(f"/proc/{away.processes['runtime'].pid}/fd") if _is_namespace(away, name)]


def _is_namespace(installation, descriptor):
    try:
        return os.readlink(f"/proc/{installation.processes['runtime'].pid}/fd/{descriptor}").startswith("net:")
    except FileNotFoundError:
        return False
