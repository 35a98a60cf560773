"""IPv6 addresses, routes and forwarding: usable at once, configured by netd alone, removed completely."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import Ether

from tests.kernel.conftest import Site
from tests.lab import Node, reach

GATEWAY6, WEB6 = "fd00:18::1", "fd00:18::2"
DUAL = ("172.18.0.1/16", f"{GATEWAY6}/64")


def flags_of(node: Node, link: str, address: str) -> dict[str, object]:
    found = [entry for shown in node.json(f"-6 addr show {link}") for entry in shown["addr_info"]]
    return next(entry for entry in found if entry["local"] == address)


def settings(node: Node, link: str) -> list[str]:
    return [node.sysctl(f"net/ipv6/conf/{link}/{name}") for name in ("disable_ipv6", "accept_ra")]


@pytest.mark.parametrize("gateways", [DUAL, DUAL[1:]], ids=["both families", "only IPv6"])
def test_a_container_with_ipv6_is_reached_at_once(site: Site, gateways: tuple[str, ...]) -> None:
    """Duplicate address detection, which takes a second, is off."""
    front = site.network("front", *gateways)
    site.container("web", front, 2)
    site.container("pal", front, 3)
    site.converge()
    site.publish()
    web = site.inside("web")
    assert flags_of(web, "eth0", WEB6)["nodad"] and "tentative" not in flags_of(web, "eth0", WEB6)
    assert "tentative" not in flags_of(site.machine, "nd-front", GATEWAY6)
    site.lab.echo(web, 80, address="::")
    assert reach(site.inside("pal"), WEB6, 80) == "fd00:18::3"
    assert reach(site.machine, WEB6, 80) == GATEWAY6
    assert web.json("-6 route show default")[0]["gateway"] == GATEWAY6


def test_router_advertisements_are_ignored_and_other_networks_have_no_ipv6(site: Site) -> None:
    site.container("web", site.network("front", *DUAL), 2)
    site.container("old", site.network("back", "172.19.0.1/16"), 2)
    site.converge()
    assert settings(site.inside("web"), "eth0") == settings(site.machine, "nd-front") == ["0", "0"]
    assert site.inside("old").sysctl("net/ipv6/conf/eth0/disable_ipv6") == "1"
    assert settings(site.machine, "nd-back") == ["1", "0"]
    for family in (4, 6):
        assert site.machine.sysctl(f"net/ipv{family}/conf/nd-front/accept_redirects") == "0"


# Forwarding


def test_ipv6_forwarding_is_enabled_only_for_a_network_with_a_gateway(site: Site) -> None:
    switch = "net/ipv6/conf/all/forwarding"
    site.network("front", "172.18.0.1/16")
    site.network("deep", "fd00:21::1/64", internal=True)
    site.converge()
    site.publish()
    assert (site.machine.sysctl("net/ipv4/ip_forward"), site.machine.sysctl(switch)) == ("1", "0")
    site.network("out", *DUAL)
    site.converge()
    site.publish()
    assert site.machine.sysctl(switch) == "1"


def test_sysctls_changed_with_forwarding_are_restored(site: Site) -> None:
    """Per-link sysctls included, also after a kill in between."""
    for name, value in (
        ("net/ipv4/conf/eth0/forwarding", "1"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/eth0/accept_ra", "1"),
        ("net/ipv6/conf/default/forwarding", "1"),
        ("net/ipv6/conf/default/accept_ra", "0"),
    ):
        site.machine.sysctl(name, value)
    before = site.machine.snapshot()
    site.network("front", *DUAL)
    site.converge()
    site.publish()
    assert site.machine.sysctl("net/ipv6/conf/eth0/accept_ra") == "2"
    assert site.machine.sysctl("net/ipv6/conf/default/accept_ra") == "0"
    site.reopen()
    site.have()
    site.do(site.host.remove_everything())
    assert site.machine.snapshot() == before


def test_forwarding_that_is_on_already_is_left_alone(site: Site) -> None:
    """Whoever enabled forwarding is responsible for the uplinks' sysctls."""
    site.machine.sysctl("net/ipv6/conf/all/forwarding", "1")
    site.network("front", *DUAL)
    site.converge()
    site.publish()
    assert site.machine.sysctl("net/ipv6/conf/eth0/accept_ra") == "1"
    site.do(site.host.remove_everything())
    assert site.machine.sysctl("net/ipv6/conf/all/forwarding") == "1"


def test_the_host_keeps_accepting_router_advertisements(site: Site) -> None:
    router = site.lab.tap(site.outside, "eth0")

    def advertise(prefix: str) -> None:
        source = site.outside.link_local("eth0")
        option = ICMPv6NDOptPrefixInfo(prefix=prefix, prefixlen=64)
        router.send(Ether(dst="33:33:00:00:00:01") / IPv6(src=source, dst="ff02::1") / ICMPv6ND_RA() / option)

    def routes() -> list[str]:
        return [route["dst"] for route in site.machine.json("-6 route show proto ra")]

    def accepts_prefix(prefix: str) -> bool:
        """Return whether the host configures an address of the prefix.

        Router advertisements are repeated, because those before the link is ready are lost.  The neighbour
        solicitation of duplicate address detection shows the address, but not every host sends it.
        """
        for _ in range(40):
            advertise(f"{prefix}::")
            router.find(lambda p: ICMPv6ND_NS in p and p[ICMPv6ND_NS].tgt.startswith(prefix), timeout=0.25)
            told = [address["local"] for link in site.machine.json("-6 addr") for address in link["addr_info"]]
            if any(address.startswith(prefix) for address in told):
                return True
        return False

    assert accepts_prefix("2001:db8:aaaa")
    assert "default" in routes()
    site.network("front", *DUAL)
    site.converge()
    site.publish()
    assert "default" in routes()
    assert accepts_prefix("2001:db8:bbbb")
