"""Driver options of endpoints."""

from __future__ import annotations

import pytest

from netd.drivers import endpoint_options
from netd.drivers.bridge import BridgeDriver
from netd.facts import Pair
from tests.unit.builders import endpoint, network, sandbox

SYSCTLS, CONF = "com.docker.network.endpoint.sysctls", "net.ipv6.conf."


def test_parameters_of_the_interface_are_read_in_either_spelling() -> None:
    given = {SYSCTLS: "net.ipv4.conf.IFNAME.forwarding=1,net.ipv6.conf.ifname.accept_ra=2,net.mpls.conf.IFNAME.input=1"}
    assert list(endpoint_options.faults(given)) == []
    assert endpoint_options.sysctls(given) == (
        ("net.ipv4.conf.IFNAME.forwarding", "1"),
        ("net.ipv6.conf.IFNAME.accept_ra", "2"),
        ("net.mpls.conf.IFNAME.input", "1"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.conf.eth0.forwarding=1",
        "net.ipv4.conf.all.forwarding=1",
        "net.core.conf.IFNAME.x=1",
        "net.ipv4.conf.IFNAME.forwarding",
        "net.ipv4.conf.IFNAME.a.b=1",
        "net.ipv4.conf.IFNAME./../x=1",
        "net.ipv4.conf.IFNAME.forwarding=1\nnet.ipv4.conf.IFNAME.x=1",
        "kernel.conf.IFNAME.x.y=1",
    ],
)
def test_sysctls_of_other_scopes_are_refused_in_dockers_words(text: str) -> None:
    [fault] = endpoint_options.faults({SYSCTLS: text})
    assert fault == (
        f"unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V',"
        " 'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )


@pytest.mark.parametrize(
    ("container", "interface", "off"),
    [
        ({}, "", False),
        ({CONF + "all.disable_ipv6": "1"}, "", True),
        ({CONF + "default.disable_ipv6": "1"}, "", True),
        ({CONF + "all.disable_ipv6": "0"}, "", False),
        ({}, CONF + "IFNAME.disable_ipv6=1", True),
        ({}, CONF + "IFNAME.accept_ra=1", False),
    ],
)
def test_ipv6_can_be_switched_off_inside(container: dict[str, str], interface: str, off: bool) -> None:
    assert endpoint_options.without_ipv6(container, {SYSCTLS: interface}) is off


def test_parameters_and_the_guard_are_facts_of_the_pair() -> None:
    def pair(options: dict[str, str], asked: dict[str, str]) -> Pair:
        on = network("n", options=options)
        attached = endpoint(on, 2, driver_opts=asked)
        [found] = BridgeDriver().endpoint_facts(on, sandbox("web", attached), attached)
        assert isinstance(found, Pair)
        return found

    plain = pair({}, {})
    assert (plain.sysctls, plain.antispoof) == ((), True)
    special = pair({"netd.guard": "false"}, {SYSCTLS: "net.ipv4.conf.ifname.forwarding=1"})
    assert (special.sysctls, special.antispoof) == ((("net.ipv4.conf.IFNAME.forwarding", "1"),), False)
