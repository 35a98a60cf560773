"""Damage to the host's side of a network is repaired, while netd runs and at its start."""

from __future__ import annotations

import pytest

from tests.api.conftest import OUTSIDE, UPLINK
from tests.installation import wait_until
from tests.lab import reach


def served(site):
    site.network("shop", "10.90.0.0/24")
    web = site.sandbox("web", "shop", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    site.lab.echo(web.node, 80)
    return web


def device(site, name="shop"):
    return f"nd-{site.get(f'/networks/{name}')['Id'][:12]}"


def is_served(site):
    return reach(site.outside, UPLINK, 8080, timeout=2) == OUTSIDE


def test_a_network_works_again_after_its_damage(site):
    served(site)
    assert is_served(site)
    for damage in (
        lambda: site.machine.ip("route del 10.90.0.0/24"),
        lambda: site.machine.sysctl(f"net/ipv4/conf/{device(site)}/forwarding", "0"),
        lambda: site.machine.ip(f"neigh replace 10.90.0.2 lladdr 02:00:00:00:00:99 dev {device(site)} nud permanent"),
    ):
        repairs = site.log().count("repairing")
        damage()
        wait_until(lambda before=repairs: site.log().count("repairing") > before and is_served(site))
    assert "route 10.90.0.0/24" in site.log()


def test_the_route_that_a_container_chose_for_itself_stays(site):
    """Of a VPN client, for example; also when netd repairs something else, and at its start."""
    web = served(site)
    web.node.ip("route replace default via 10.90.0.9")
    site.machine.ip("route del 10.90.0.0/24")
    wait_until(lambda: is_served(site) or "10.90.0.0/24" in site.machine.ip("route"))
    assert web.gateway() == "10.90.0.9"
    site.kill()
    site.start()
    assert web.gateway() == "10.90.0.9"
    site.machine.ip(f"link del {next(link for link in site.links() if link.startswith('ndp'))}")
    wait_until(lambda: web.gateway() == "10.90.0.1")


def test_damage_while_netd_was_away_is_repaired_at_its_start(site):
    served(site)
    bridge = device(site)
    site.kill()
    site.machine.ip("route del 10.90.0.0/24")
    site.machine.sysctl(f"net/ipv4/conf/{bridge}/forwarding", "0")
    site.start()
    assert is_served(site)


def test_br_netfilter_switched_on_later_is_noticed(site):
    switch = "net/bridge/bridge-nf-call-ip6tables"
    try:
        before = site.machine.sysctl(switch)
    except OSError:
        pytest.skip("this kernel has no br_netfilter")
    site.network("shop", "10.90.0.0/24")
    for value in ("0", "1"):
        site.machine.sysctl(switch, value)
        wait_until(lambda value=value: _avoids_loopback6(site) is (value == "1"))
    site.machine.sysctl(switch, before)


def _avoids_loopback6(site):
    """Return whether published ports are not translated at ::1."""
    return "elements" in site.machine.command("nft", "list", "set", "inet", "netd", "unanswered")
