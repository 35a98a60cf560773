"""``kill -9`` of any process loses nothing, and nothing is left after the removal."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.installation import Installation, wait_until


@pytest.fixture
def shop():
    """An installation with a web server, published on 8080, and a client on one network."""
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        place.netctl("network", "create", "shop")
        serve = "echo hello > /tmp/index.html; httpd -p 80 -h /tmp; while :; do echo tick; sleep .2; done"
        on_shop = ("--network", "shop", "busybox")
        place.netctl("run", "-d", "--name", "web", "-p", "8080:80", *on_shop, "sh", "-c", serve)
        place.netctl("run", "-d", "--name", "client", *on_shop, "sleep", "100000")
        place.check = lambda: check(place)
        place.check()
        yield place
    finally:
        place.destroy()


def check(place):
    """Assert that names, the network, the published port and the lists work."""
    pid = place.pid = getattr(place, "pid", None) or place.inspect("client")["State"]["Pid"]
    assert inside(pid, "nslookup", "web", "127.0.0.11").returncode == 0
    assert inside(pid, "wget", "-q", "-O", "-", "http://web/").stdout == "hello\n"
    assert place.on_host("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").stdout == "hello\n"


def inside(pid, *command):
    """Run a program of the container's image in all its namespaces, without a daemon."""
    return subprocess.run(["nsenter", "-t", str(pid), "-n", "-m", *command], capture_output=True, text=True, timeout=20)


def find(place, *words):
    """Return processes of the installation whose command line or name contains one of the words."""
    found = []
    for pid in place.leftovers():
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if any(word in line for word in words):
            found.append(pid)
    return found


def state(place):
    ids = {
        c["Id"]: (c["Names"], c["State"], c["NetworkSettings"]["Networks"])
        for c in place.docker.api.containers(all=True)
    }
    networks = {n["Id"]: n["Name"] for n in place.docker.api.networks()}
    return ids, networks


def test_netd_is_killed_names_resolve_without_it_and_all_is_as_before(shop):
    before = state(shop)
    shop.kill("netd")
    shop.check()
    refused = shop.netctl("network", "create", "other", check=False)
    assert refused.returncode != 0 and "netd" in refused.stderr
    shop.start("netd")
    shop.check()
    assert state(shop) == before
    shop.netctl("run", "--rm", "--network", "shop", "busybox", "ping", "-c", "1", "-W", "2", "web")


def test_the_name_server_is_killed_and_comes_back_by_itself(shop):
    servers = find(shop, "netd.dns")
    assert servers
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: inside(shop.pid, "nslookup", "web", "127.0.0.11").returncode == 0)
    shop.check()


def test_netd_and_its_name_server_are_killed_together(shop):
    servers = find(shop, "netd.dns")
    shop.kill("netd")
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    shop.start("netd")
    wait_until(lambda: inside(shop.pid, "nslookup", "web", "127.0.0.11").returncode == 0)
    shop.check()


def test_the_runtime_is_killed_and_containers_never_notice(shop):
    before = state(shop)
    shop.kill("runtime")
    shop.check()
    shop.start("runtime")
    assert state(shop) == before
    shop.check()
    ticks = shop.netctl("logs", "web").stdout.count("tick")
    wait_until(lambda: shop.netctl("logs", "web").stdout.count("tick") > ticks + 2)
    assert shop.netctl("exec", "web", "echo", "alive").stdout == "alive\n"
    assert shop.netctl("stop", "-t", "1", "web").returncode == 0
    assert shop.inspect("web")["State"]["Status"] == "exited"


def test_deleted_sockets_are_created_again_with_their_owner_and_mode(shop):
    sockets = [shop.run / name for name in ("netd.sock", "docker.sock")]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in sockets]
    for path in sockets:
        path.unlink()
    wait_until(lambda: all(path.exists() for path in sockets))
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in sockets] == before
    shop.netctl("run", "--rm", "--network", "shop", "busybox", "wget", "-q", "-O", "-", "http://web/")
    for name in ("netd", "runtime"):
        assert "the socket was deleted and is created again" in shop.log(name)
    shop.stop()
    assert not any(path.exists() for path in sockets)


def test_a_container_that_ends_while_the_runtime_is_dead_is_found_ended(shop):
    shop.netctl("run", "-d", "--name", "brief", "--network", "shop", "busybox", "sh", "-c", "sleep 1; exit 7")
    pid = shop.inspect("brief")["State"]["Pid"]
    shop.kill("runtime")
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    shop.start("runtime")
    wait_until(lambda: shop.inspect("brief")["State"]["Status"] == "exited")
    assert shop.inspect("brief")["State"]["ExitCode"] == 7
    attached = shop.docker.networks.get("shop").attrs["Containers"].values()
    assert sorted(c["Name"] for c in attached) == ["client", "web"]


def test_every_helper_process_is_killed_one_by_one(shop):
    """The zygote and the shims: the containers go on, and can be stopped and started again."""
    daemons = {process.pid for process in shop.processes.values()} | set(find(shop, "netd.dns"))
    for pid in set(shop.leftovers()) - daemons:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    shop.check()
    ticks = shop.netctl("logs", "web").stdout.count("tick")
    wait_until(lambda: shop.netctl("logs", "web").stdout.count("tick") > ticks + 2)
    shop.netctl("run", "--rm", "--network", "shop", "busybox", "ping", "-c", "1", "-W", "2", "web")
    shop.netctl("restart", "-t", "0", "web")
    shop.check()


def test_what_others_delete_is_built_again(shop):
    shop.on_host("nft", "delete", "table", "inet", "netd", check=True)
    bridge = next(link for link in links(shop) if link.startswith("nd-"))
    shop.on_host("ip", "link", "del", bridge, check=True)
    wait_until(
        lambda: page(shop) == "hello\n" and inside(shop.pid, "wget", "-q", "-O", "-", "http://web/").stdout == "hello\n"
    )


def page(place):
    return place.on_host("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").stdout


def links(place):
    return [line.split(": ")[1].split("@")[0] for line in place.on_host("ip", "-o", "link").stdout.splitlines()]


def snapshot(place):
    """Return the state of the host that a run could change."""
    return {
        "links": place.on_host("ip", "-o", "link").stdout,
        "addresses": place.on_host("ip", "-o", "addr").stdout,
        "routes": place.on_host("ip", "route", "show", "table", "all").stdout,
        "ruleset": place.on_host("nft", "-a", "list", "ruleset").stdout,
        "forwarding": place.on_host("cat", "/proc/sys/net/ipv4/ip_forward").stdout,
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place.root) in line],
    }


def test_nothing_is_left_behind():
    place = Installation()
    try:
        place.on_host("nft", "add", "table", "ip", "somebody_elses", check=True)
        before = snapshot(place)
        place.start()
        place.load_busybox()
        place.netctl("network", "create", "n1")
        for name in ("a", "b"):
            place.netctl(
                "run",
                "-d",
                "--name",
                name,
                "--network",
                "n1",
                "-P",
                "--expose",
                "80",
                "-v",
                "vol:/v",
                "busybox",
                "sleep",
                "1000",
            )
        place.netctl("exec", "a", "true")
        ids = [place.inspect(name)["Id"] for name in ("a", "b")]
        place.netctl("rm", "-f", "a", "b")
        place.netctl("network", "rm", "n1")
        place.netctl("volume", "rm", "vol")
        place.stop()
        wait_until(lambda: not place.leftovers())
        assert snapshot(place) == before
        assert not [path for container in ids for path in Path("/sys/fs/cgroup").glob(f"*/netd/{container}")]
    finally:
        place.destroy()
