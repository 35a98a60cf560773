"""Parsing of the networks that may reach a published port, from bindings and labels."""

from ipaddress import IPv4Network, IPv6Network

import pytest

from netd.api import PortBinding
from netd.common.allow import networks, networks_for_ports, rules
from netd.common.errors import BadRequest
from netd.portmap.requests import port_requests

OFFICE, LAB, HOME = IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/32"), IPv4Network("198.51.100.7/32")


def test_networks_of_both_families_and_single_addresses_are_read():
    assert networks(["192.0.2.0/24", " 2001:db8::/32", "198.51.100.7", "192.0.2.0/24"], "x") == (OFFICE, LAB, HOME)


@pytest.mark.parametrize(("text", "reason"), [("zork", "neither"), ("", "neither"), ("10.0.0.1/8", "host bits")])
def test_an_invalid_network_is_named_in_the_refusal(text, reason):
    with pytest.raises(BadRequest, match=reason) as refused:
        networks([text], "port 80/tcp")
    assert f'"{text}" of port 80/tcp' in refused.value.message


def test_a_label_is_about_host_ports():
    found = rules({"netd.allow.8080": "192.0.2.0/24,2001:db8::/32", "netd.allow.53/udp": "198.51.100.7", "a": "b"})
    assert networks_for_ports(found, "tcp", 8080, 8080) == networks_for_ports(found, "udp", 8080, 8080) == (OFFICE, LAB)
    assert networks_for_ports(found, "udp", 53, 53) == (HOME,)
    assert networks_for_ports(found, "tcp", 53, 53) == networks_for_ports(found, "tcp", 8081, 8090) == ()


def test_a_label_for_a_part_of_a_port_range_is_refused():
    found = rules({"netd.allow.8000-8004": "192.0.2.0/24"})
    assert networks_for_ports(found, "tcp", 8000, 8004) == networks_for_ports(found, "tcp", 8001, 8002) == (OFFICE,)
    with pytest.raises(BadRequest, match=r"netd.allow.8003-8006"):
        networks_for_ports(found, "tcp", 8003, 8006)


@pytest.mark.parametrize("label", [f"netd.allow.{text}" for text in ("", "http", "0", "9-8", "1/x")])
def test_a_label_that_cannot_be_read_is_refused_by_name(label):
    with pytest.raises(BadRequest, match=f"label {label} cannot be read"):
        rules({label: "192.0.2.0/24"})
    with pytest.raises(BadRequest, match=r"of label netd\.allow\.80"):
        rules({"netd.allow.80": "everybody"})


def test_a_bindings_own_networks_replace_those_of_a_label():
    labels = rules({"netd.allow.8080": "198.51.100.7"})
    own = [PortBinding("", "8080", ["192.0.2.0/24"])]
    assert [request.allow for request in port_requests({"80/tcp": own}, (), labels)] == [(OFFICE,)]
    assert [request.allow for request in port_requests({"80/tcp": [PortBinding("", "8080")]}, (), labels)] == [(HOME,)]
    assert [request.allow for request in port_requests({"80/tcp": [PortBinding()]}, ["81/tcp"], labels)] == [(), ()]


def test_ports_with_different_allowed_networks_are_not_merged():
    bindings = {f"{80 + n}/tcp": [PortBinding("", str(8080 + n))] for n in range(4)}
    found = port_requests(bindings, (), rules({"netd.allow.8082": "192.0.2.0/24"}))
    assert [(request.port, request.count, request.allow) for request in found] == [
        (8080, 2, ()),
        (8082, 1, (OFFICE,)),
        (8083, 1, ()),
    ]
