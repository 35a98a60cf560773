"""One network of each kind, with published or opened ports, for the golden listings."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from netd.portmap.rules import GatewayMode, Opened, Treatment
from tests.kernel.conftest import Site, port

KINDS: dict[str, dict[str, Any]] = {
    "nat": {},
    "unprotected": {"mode": GatewayMode.UNPROTECTED},
    "routed": {"mode": GatewayMode.ROUTED},
    "internal": {"internal": True},
    "isolated": {"internal": True, "mode": GatewayMode.ISOLATED},
    "icc-off": {"isolated": True},
    "trusted": {"trusted": ("eth0",)},
    "source": {"source": "198.51.100.1"},
    "not-hidden": {"masquerade": False},
    "respect": {},
}


def publish(site: Site, kind: str) -> None:
    """Apply the rules of a network of the kind."""
    fields = dict(KINDS[kind])
    mode, source = fields.pop("mode", GatewayMode.NAT), fields.pop("source", None)
    treatment = Treatment(
        mode=mode, masquerade=fields.pop("masquerade", True), source=ip_address(source) if source else None
    )
    fields |= {"ipv4": treatment, "ipv6": Treatment(mode=mode)}
    front = site.network("front", "172.18.0.1/16", "fd00:18::1/64", **fields)
    web = site.container("web", front, 2)
    site.respect = kind == "respect"
    if mode is GatewayMode.ROUTED:
        site.opened = {
            Opened("tcp", ip_address("172.18.0.2"), 80),
            Opened("udp", ip_address("fd00:18::2"), 53, 10, (ip_network("2001:db8::/32"),)),
        }
    elif mode is not GatewayMode.ISOLATED:
        site.published = {
            port(8080, web, 80),
            port(9000, web, 9000, protocol="udp", count=10),
            port(7000, web, 9000, protocol="sctp", count=10, address="127.0.0.1"),
            port(8443, web, 443, address="::", allow=["2001:db8::/32"]),
        }
    site.publish()
