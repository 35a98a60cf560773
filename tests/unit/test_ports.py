"""Parsing of port options, and the allocation of host ports."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.api import PortBinding
from netd.common.addresses import EVERY_IPV4
from netd.common.errors import BadRequest
from netd.model import PortRequest, Publication
from netd.portmap.port_index import PortTable
from netd.portmap.requests import exposed, port_requests


def bind(port="", address=""):
    return PortBinding(address, port)


def test_consecutive_ports_become_one_request():
    found = port_requests({f"{7000 + n}/tcp": [bind(str(20000 + n))] for n in range(500)})
    assert found == (PortRequest(protocol="tcp", target=7000, count=500, port=20000, last=20000),)


def test_ports_that_do_not_follow_on_both_sides_stay_apart():
    found = port_requests({"80/tcp": [bind("8080")], "81/tcp": [bind("8082")], "80/udp": [bind("8080")]})
    assert [
        (port_request.protocol, port_request.target, port_request.port, port_request.count) for port_request in found
    ] == [
        ("tcp", 80, 8080, 1),
        ("udp", 80, 8080, 1),
        ("tcp", 81, 8082, 1),
    ]


@given(st.sets(st.tuples(st.integers(1, 40), st.integers(100, 140)), max_size=30))
def test_merging_keeps_the_set_of_ports(pairs):
    by_target: dict[str, list[PortBinding]] = {}
    for target, port in sorted(pairs):
        by_target.setdefault(f"{target}/tcp", []).append(bind(str(port)))
    found = [
        (port_request.target + step, port_request.port + step)
        for port_request in port_requests(by_target)
        for step in range(port_request.count)
    ]
    assert sorted(found) == sorted(pairs)


def test_an_empty_list_and_an_empty_port_leave_the_choice_open():
    for given_ in (None, [], [bind()], [bind("0")]):
        assert port_requests({"80": given_}) == (PortRequest(protocol="tcp", target=80),)


def test_a_range_is_one_free_port_of_it_and_ranges_on_both_sides_are_pairs():
    assert port_requests({"80/tcp": [bind("8000-8002")]}) == (
        PortRequest(protocol="tcp", target=80, port=8000, last=8002),
    )
    [pairs] = port_requests({"80-82/udp": [bind("8000-8002")]})
    assert (pairs.target, pairs.port, pairs.count) == (80, 8000, 3)
    with pytest.raises(BadRequest, match="invalid ranges specified"):
        port_requests({"80-82/tcp": [bind("8000-8001")]})


def test_bindings_that_differ_only_in_address_get_the_same_port():
    [port_request] = port_requests({"80/tcp": [bind("", "127.0.0.1"), bind("", "10.0.0.1")]})
    assert port_request.addresses == (IPv4Address("127.0.0.1"), IPv4Address("10.0.0.1"))


def test_fixed_ports_come_before_those_that_may_be_chosen():
    found = port_requests({"80/tcp": [bind()], "90/tcp": [bind("9000-9005")], "100/tcp": [bind("1000")]})
    assert [port_request.target for port_request in found] == [100, 80, 90]


def test_all_exposed_ports_are_published_that_are_not_already():
    found = port_requests({"80/tcp": [bind("8080")]}, ["80/tcp", "53/udp"])
    assert [(port_request.protocol, port_request.target, port_request.port) for port_request in found] == [
        ("tcp", 80, 8080),
        ("udp", 53, 0),
    ]


def test_every_exposed_port_is_shown_once():
    assert exposed(["82-83/UDP", "80", "84/udp"], {"80/tcp": None, "90/udp": None}) == ("80/tcp", "82-84/udp", "90/udp")


@pytest.mark.parametrize(
    ("key", "binding"),
    [
        ("0/tcp", bind()),
        ("70000/tcp", bind()),
        ("http", bind()),
        ("80/foo", bind()),
        ("82-80/tcp", bind()),
        ("80/tcp", bind("70000")),
        ("80/tcp", bind("-1")),
        ("80/tcp", bind("8001-8000")),
        ("80/tcp", bind("8080", "localhost")),
    ],
)
def test_what_cannot_be_published_is_refused_by_name(key, binding):
    with pytest.raises(BadRequest) as refused:
        port_requests({key: [binding]})
    assert key in refused.value.message


def at(port, count=1, address="0.0.0.0", protocol="tcp"):
    return Publication(protocol=protocol, address=IPv4Address(address), port=port, target=1, count=count)


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (at(80), at(80, address="127.0.0.1"), True),
        (at(80, address="127.0.0.1"), at(80), True),
        (at(80, address="127.0.0.1"), at(80, address="127.0.0.2"), False),
        (at(53), at(53, protocol="udp"), False),
        (at(8000, 10), at(8009), True),
        (at(8000, 10), at(8010), False),
        (at(8005), at(8000, 10), True),
    ],
)
def test_a_port_conflicts_on_the_same_address_and_on_all_addresses(first, second, conflict):
    table = PortTable()
    table.add(first, "a")
    assert bool(table.conflict(second)) is conflict
    table.remove(first)
    assert table.conflict(second) is None


PLACES = st.builds(
    at, st.integers(1, 20), st.integers(1, 4), st.sampled_from(["0.0.0.0", "127.0.0.1", "10.0.0.1"]), st.just("tcp")
)


@given(st.lists(st.tuples(st.booleans(), PLACES), max_size=40))
def test_the_table_agrees_with_a_list_of_single_ports(steps):
    table, given_ = PortTable(), []

    def clash(left, right):
        same = left.address == right.address or EVERY_IPV4 in (left.address, right.address)
        return same and left.port <= right.last and right.port <= left.last

    for add, place in steps:
        expected = [other for other in given_ if clash(place, other)]
        found = table.conflict(place)
        assert bool(found) == bool(expected)
        if found:
            assert place.port <= found.port <= place.last
            assert any(other.port <= found.port <= other.last for other in expected)
        elif add:
            table.add(place, "x")
            given_.append(place)
        if not add and given_:
            table.remove(given_.pop())
