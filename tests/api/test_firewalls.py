"""Both firewall backends provide all functions; changing the setting migrates everything to the other backend."""

import signal
import socket

import pytest

from tests.api.conftest import OUTSIDE, UPLINK, Site
from tests.installation import wait_until
from tests.lab import Node, reach, unreachable

SAVES = ("iptables-legacy-save", "ip6tables-legacy-save")


def legacy(node: Node) -> str:
    """Return the legacy tables without counters."""
    lines = "".join(node.command(program) for program in SAVES).splitlines()
    return "\n".join(line.split(" [")[0] for line in lines if not line.startswith("#"))


def holds(node: Node, firewall: str) -> bool:
    """Return whether a host or sandbox has rules of this backend, and none of the other."""
    here = {"iptables": "NETD-" in legacy(node), "nftables": "netd" in node.command("nft", "list", "tables")}
    return here == {"iptables": firewall == "iptables", "nftables": firewall == "nftables"}


PUBLISHED = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize(("site", "then"), [("nftables", "iptables"), ("iptables", "nftables")], indirect=["site"])
def test_a_restart_moves_everything_to_the_other_firewall(site, then, end):
    web = site.sandbox("web", "bridge", **PUBLISHED)
    site.sandbox("pal", "bridge")
    assert holds(site.machine, site.firewall) and holds(web.node, site.firewall)
    with web.node.run(lambda: socket.create_server(("0.0.0.0", 80))) as server:
        client = site.outside.run(lambda: socket.create_connection((UPLINK, 8080), 5))
        served = server.accept()[0]
        site.end(end)
        site.firewall = then
        site.start()
        assert holds(site.machine, then) and holds(web.node, then)
        served.sendall(b"still here")
        assert client.recv(100) == b"still here"
        client.close()
        served.close()
    assert web.resolve("pal") and web.resolve("nowhere.pal") is None
    site.lab.echo(web.node, 80)
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    assert unreachable(site.outside, web.address(), 80)


OBSTACLE = """
table ip netd {
  chain queries { type nat hook output priority 0; }
}
"""


@pytest.mark.parametrize("site", ["iptables"], indirect=True)
def test_a_dns_redirect_that_could_not_be_moved_to_the_other_firewall_is_moved_later(site):
    web = site.sandbox("web", "bridge", **PUBLISHED)
    pal = site.sandbox("pal", "bridge")
    web.node.nft(OBSTACLE)
    site.stop()
    site.firewall = "nftables"
    site.start()
    assert f"DNS redirect not restored, will be retried: sandbox={web.id[:12]}" in site.log()
    assert web.resolve("pal"), "the earlier redirect is still used"
    assert holds(pal.node, "nftables") and "NETD-" in legacy(web.node)
    web.node.command("nft", "delete", "table", "ip", "netd")
    site.machine.nft("flush table inet netd\n")  # A repair is due at once.
    wait_until(lambda: holds(web.node, "nftables"), 60)
    assert web.resolve("pal") and pal.resolve("web")


@pytest.mark.parametrize("site", ["iptables"], indirect=True)
@pytest.mark.parametrize("damage", ["-t nat -F", "-t mangle -F FORWARD", "-t nat -D PREROUTING 1"])
def test_legacy_tables_that_others_emptied_are_filled_again(site, damage):
    web = site.sandbox("web", "bridge", **PUBLISHED)
    site.lab.echo(web.node, 80)
    good = legacy(site.machine)
    site.machine.command("iptables-legacy", *damage.split())
    assert legacy(site.machine) != good
    wait_until(lambda: legacy(site.machine) == good)
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE


@pytest.mark.parametrize("site", ["iptables"], indirect=True)
def test_rules_that_others_add_beside_ours_are_left_alone(site):
    site.sandbox("web", "bridge", **PUBLISHED)
    site.machine.command("iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-j", "RETURN")
    site.machine.command("iptables-legacy", "-t", "nat", "-N", "THEIRS")
    site.sandbox("pal", "bridge", PortBindings={"80/tcp": [{"HostPort": "8081"}]})
    assert "-A PREROUTING -p tcp -j RETURN" in legacy(site.machine) and ":THEIRS" in legacy(site.machine)
    assert "--dport 8081" in legacy(site.machine)


def test_a_daemon_without_python_iptables_says_what_to_install(lab, tmp_path):
    site = Site(lab, tmp_path, "iptables")
    absent = tmp_path / "absent" / "iptc.py"
    absent.parent.mkdir()
    absent.write_text("raise ModuleNotFoundError(\"No module named 'iptc'\")\n")
    site.environment["PYTHONPATH"] = str(absent.parent)
    assert site.spawn().wait(20) == 1
    [said] = [line for line in site.log().splitlines() if line.startswith("netd: ")]
    assert "run tools/setup iptables" in said and "netd[iptables]" in said


def test_where_nftables_cannot_be_used_iptables_is(lab, tmp_path):
    site = Site(lab, tmp_path)
    broken = tmp_path / "broken" / "libnftables.so.1"
    broken.parent.mkdir()
    broken.write_text("no library")
    site.environment["LD_LIBRARY_PATH"] = str(broken.parent)
    site.start()
    assert "firewall=iptables reason=libnftables.so.1 cannot be loaded" in site.log()
    web = site.sandbox("web", "bridge", **PUBLISHED)
    site.lab.echo(web.node, 80)
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    assert web.resolve("web") == [web.address()]
    assert holds(web.node, "iptables") and holds(site.machine, "iptables")
    site.close()
    assert "NETD-" not in legacy(site.machine)


def test_a_firewall_that_there_is_not_is_refused(lab, tmp_path):
    site = Site(lab, tmp_path, "pf")
    assert site.spawn().wait(20) == 1
    assert site.log().strip().endswith("netd.toml: firewall must be one of auto, nftables, iptables")


STRICT = """
table inet admin {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lo" accept
    tcp dport 8080 accept
  }
}
"""


@pytest.mark.parametrize("site", ["nftables"], indirect=True)
def test_the_configuration_says_whether_the_hosts_rules_are_respected(site):
    published = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}, {"HostPort": "8081"}]}}
    web = site.sandbox("web", "bridge", **published)
    site.lab.echo(web.node, 80)
    site.machine.nft(STRICT)
    before = site.machine.command("nft", "list", "table", "inet", "admin")
    assert reach(site.outside, UPLINK, 8081) == OUTSIDE
    site.end(signal.SIGTERM)
    site.host_firewall = "respect"
    site.start()
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE and unreachable(site.outside, UPLINK, 8081)
    site.sandbox("more", "bridge", PortBindings={"80/tcp": [{"HostPort": "8082"}]})
    assert unreachable(site.outside, UPLINK, 8082)
    site.machine.ip("link del netdq0")
    wait_until(lambda: reach(site.outside, UPLINK, 8080, timeout=0.3) == OUTSIDE)
    assert site.machine.command("nft", "list", "table", "inet", "admin") == before
    site.end(signal.SIGTERM)
    site.host_firewall = "ignore"
    site.start()
    assert reach(site.outside, UPLINK, 8081) == OUTSIDE
    assert not {"netdq0", "netdq1"} & site.machine.links()
