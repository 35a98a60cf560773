"""netd killed, restarted, damaged from outside and stopped: acknowledged state is kept, the rest is removed."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from tests.api.conftest import OUTSIDE, UPLINK
from tests.installation import wait_until
from tests.lab import reach


def shop(site):
    """A network with a published web server and a client."""
    site.network("shop", "10.1.0.0/24", Labels={"a": "b"})
    port_requests = {"shop": {"Aliases": ["www"]}}
    web = site.sandbox(
        "web", port_requests, PortBindings={"80/tcp": [{"HostPort": "8080"}], "81/udp": [{"HostPort": ""}]}
    )
    site.lab.echo(web.node, 80)
    return web, site.sandbox("client", "shop")


def works(site, client):
    """Return whether names, the network, the published port and the default route work."""
    return (
        client.resolve("www") == ["10.1.0.2"]
        and reach(client.node, "10.1.0.2", 80, timeout=5) == "10.1.0.3"
        and reach(site.outside, UPLINK, 8080, timeout=5) == OUTSIDE
        and reach(client.node, OUTSIDE, 7, timeout=5) == UPLINK
    )


def known(site):
    networks = [site.get(f"/networks/{name}") for name in site.networks()]
    return networks, site.get("/netd/v1/sandboxes"), site.ruleset(), site.links()


def test_a_killed_netd_is_back_as_it_was_and_names_resolve_meanwhile(site):
    site.lab.echo(site.outside, 7)
    _, client = shop(site)
    assert works(site, client)
    before = known(site)
    site.kill()
    assert client.resolve("www") == ["10.1.0.2"]
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    site.start()
    assert known(site) == before
    assert works(site, client)
    third = site.sandbox("third", "shop")
    assert third.address("shop") == "10.1.0.4" and client.resolve("third") == ["10.1.0.4"]
    body = site.request("fourth", "shop", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    assert "web" in site.refusal(500, "POST", "/netd/v1/sandboxes", body)


def test_names_never_fail_while_netd_is_replaced(site):
    _, client = shop(site)
    failures, end = [], threading.Event()

    def ask():
        while not end.is_set():
            if client.resolve("www") != ["10.1.0.2"]:
                failures.append(time.monotonic())

    asking = threading.Thread(target=ask)
    asking.start()
    site.kill()
    site.start()
    end.set()
    asking.join()
    assert failures == []


def test_killed_together_with_its_name_server(site):
    site.lab.echo(site.outside, 7)
    _, client = shop(site)
    for pid in name_servers(site):
        os.kill(pid, signal.SIGKILL)
    site.kill()
    site.start()
    assert works(site, client)


def name_servers(site):
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"netd.dns" in (path / "cmdline").read_bytes()
                and (path / "ns/net").stat().st_ino == os.fstat(site.machine.fd).st_ino
            ):
                found.append(int(path.name))
        except OSError:
            continue
    assert found
    return found


def test_kills_at_any_moment_leave_nothing_half_made(site):
    """Acknowledged requests are in effect after the restart; others are in effect completely or not at all."""
    site.network("n", "10.1.0.0/16")
    answered, stop = {}, threading.Event()

    def make(number):
        round_ = 0
        while not stop.is_set():
            round_ += 1
            body = site.request(f"c{number}-{round_}", "n", PortBindings={"80/tcp": [{"HostPort": ""}]})
            try:
                status, said = site.call("POST", "/netd/v1/sandboxes", body)
            except OSError:
                return
            assert status == 201, said
            answered[body["Id"]] = said
            if round_ % 3 == 0:
                try:
                    status, _ = site.call("DELETE", f"/netd/v1/sandboxes/{body['Id']}")
                except OSError:
                    answered.pop(body["Id"])
                    return
                answered.pop(body["Id"])

    for delay in (0.05, 0.13, 0.31):
        threads = [threading.Thread(target=make, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(delay)
        site.kill()
        for thread in threads:
            thread.join()
        site.start()
        views = {view["Id"]: view for view in site.get("/netd/v1/sandboxes")}
        assert answered.items() <= views.items()
        pairs = sum(link.startswith("ndp") for link in site.links())
        assert pairs == len(views) == len(os.listdir(site.run / "netns"))
        for identifier in views:
            site.remove(identifier)
        answered.clear()


def test_what_others_remove_is_made_again(site):
    site.lab.echo(site.outside, 7)
    web, client = shop(site)
    before = known(site)
    bridge = f"nd-{site.get('/networks/shop')['Id'][:12]}"
    pair = f"ndp{web.settings['Networks']['shop']['EndpointID'][:10]}"
    for damage in (
        "nft delete table inet netd",
        "nft flush ruleset",
        f"ip link del {bridge}",
        f"ip link set {bridge} down",
        f"ip addr flush dev {bridge}",
        f"ip link del {pair}",
        f"ip link set {pair} nomaster",
    ):
        site.machine.command(*damage.split())
        wait_until(lambda: works(site, client) and known(site) == before)


def test_a_reboot_keeps_networks_and_forgets_containers(site):
    shop(site)
    networks = site.networks()
    subnets = [site.get(f"/networks/{name}")["IPAM"] for name in networks]
    site.kill()
    for pid in name_servers(site):
        os.kill(pid, signal.SIGKILL)
    for mount in (site.run / "netns").iterdir():
        subprocess.run(["umount", "-l", str(mount)], check=True)
    for link in site.links():
        if link.startswith("nd"):
            site.machine.ip(f"link del {link}")
    site.machine.command("nft", "flush", "ruleset")
    site.start()
    assert site.get("/netd/v1/sandboxes") == []
    assert site.networks() == networks
    assert [site.get(f"/networks/{name}")["IPAM"] for name in networks] == subnets
    assert site.sandbox("web", "shop", PortBindings={"80/tcp": [{"HostPort": "8080"}]}).address("shop") == "10.1.0.2"


def test_a_stop_without_containers_leaves_nothing(site):
    def host():
        shown = (
            "ip -o link",
            "ip -o -4 addr",
            "ip -4 route show table all",
            "nft list ruleset",
            "cat /proc/sys/net/ipv4/ip_forward",
        )
        return [site.machine.command(*words.split()) for words in shown]

    site.stop()
    before = host()
    site.start()
    site.network("shop")
    site.sandbox("web", "shop", PortBindings={"80/tcp": [{"HostPort": "8080"}]}).remove()
    assert site.stop() == 0
    assert host() == before
    assert sorted(path.name for path in site.run.iterdir()) == ["dns.log", "netd.lock"]
    site.start()
    assert "shop" in site.networks()


def test_a_stop_leaves_containers_running(site):
    site.lab.echo(site.outside, 7)
    _, client = shop(site)
    assert site.stop() == 0
    assert client.resolve("www") == ["10.1.0.2"]
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    site.start()
    assert works(site, client)


def test_a_second_netd_on_the_same_run_dir_is_refused(site):
    second = site.spawn()
    assert second.wait(20) == 1
    assert f"netd: another netd runs on {site.run}" in site.log()
    assert site.networks()


def test_an_installed_package_adds_a_driver(site):
    """A distribution on sys.path with an entry point suffices."""
    package = site.root / "package"
    (package / "tiny-1.0.dist-info").mkdir(parents=True)
    (package / "tiny-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (package / "tiny-1.0.dist-info/entry_points.txt").write_text(
        "[netd.drivers]\ntiny = tiny_driver:Tiny\nbroken = tiny_driver:Absent\nodd = tiny_driver:Odd\n"
    )
    (package / "tiny_driver.py").write_text(TINY)
    site.stop()
    site.environment["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    site.start()
    assert "driver=broken left-out=true" in site.log() and "driver=odd left-out=true" in site.log()
    assert "colour" in site.refusal(400, "POST", "/networks/create", {"Name": "t", "Driver": "tiny"})
    made = site.network("t", "10.7.0.0/24", Driver="tiny", Options={"colour": "red"})
    assert made["Driver"] == "tiny" and "tiny-red" in site.links()
    web, db = site.sandbox("web", "t"), site.sandbox("db", "t")
    assert web.resolve("db") == ["10.7.0.3"] == [db.address("t")]
    del site.environment["PYTHONPATH"]
    site.kill()
    site.start()
    assert "driver is not installed; install its package: driver=tiny" in site.log()
    assert "install" in site.refusal(404, "POST", "/netd/v1/sandboxes", site.request("x", "t"))
    for box in (web, db):
        box.remove()
    site.ask(204, "DELETE", "/networks/t")


TINY = '''
from ipaddress import IPv4Address, IPv4Interface
from netd.common.errors import BadRequest
from netd.drivers import Traits
from netd.drivers.bridge import BridgeDriver
from netd.facts import Bridge


class Tiny(BridgeDriver):
    """Bridges called by a colour."""

    def validate(self, spec):
        if "colour" not in spec.options:
            raise BadRequest("a tiny network needs the option colour")

    def device(self, network):
        return "tiny-" + network.options["colour"]


class Odd:
    pass
'''


def test_descriptors_do_not_run_out(site):
    """More descriptors than FD_SETSIZE: libnftables uses select()."""
    ports = {f"{n}/tcp": [{"HostPort": str(20000 + 2 * n)}] for n in range(1, 1101)}
    many = site.sandbox("many", PortBindings=ports)
    assert len(os.listdir(f"/proc/{site.process.pid}/fd")) > 1100
    web = site.sandbox("web", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    assert many.resolve("web") == [web.address()]


def test_the_log_says_when_it_serves(site):
    assert f"listening: socket={site.run / 'netd.sock'}" in site.log()
