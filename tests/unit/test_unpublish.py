"""Unpublishing of ports: exactly the named ones, also out of ranges."""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6
from netd.model import PortRequest, Publication
from netd.portmap.rules import Published
from netd.portmap.unpublish import minus, without

LOOP, LAN = IPv4Address("127.0.0.1"), IPv4Address("192.0.2.1")


def port_request(port, target, count=1, last=None, addresses=(None,)):
    return PortRequest(protocol="tcp", target=target, count=count, port=port, last=last or port, addresses=addresses)


def given_for(*port_requests, port=0):
    """Return the publications of port requests; no address means all of both families, and netd chooses *port*."""
    return [
        Publication(
            protocol="tcp",
            address=bound,
            port=port or port_request.port,
            target=port_request.target,
            count=port_request.count,
        )
        for port_request in port_requests
        for address in port_request.addresses
        for bound in ((EVERY_IPV4, EVERY_IPV6) if address is None else (address,))
    ]


def singles(publications):
    return {
        (publication.address, publication.port + step, publication.target + step)
        for publication in publications
        for step in range(publication.count)
    }


def test_a_port_is_cut_out_of_a_run():
    run = port_request(20000, 7000, 500)
    left = without([run], given_for(run), port_request(20250, 7250))
    assert left.port_requests == (port_request(20000, 7000, 250), port_request(20251, 7251, 249))
    assert singles(left.publications) == singles(given_for(*left.port_requests)) and len(left.publications) == 4
    assert [len(rest) for _, rest in left.cut] == [2, 2]


def test_without_a_host_port_all_publications_of_the_container_port_are_removed():
    port_requests = [port_request(8080, 80), port_request(8081, 80, addresses=(LOOP,)), port_request(8082, 81)]
    left = without(port_requests, given_for(*port_requests), port_request(0, 80))
    assert left.port_requests == (port_requests[2],) and singles(left.publications) == singles(
        given_for(port_requests[2])
    )


def test_an_automatic_port_is_removed_by_its_allocated_number():
    chosen = [port_request(0, 80), port_request(8000, 81, last=8010)]
    there = given_for(chosen[0], port=32768) + given_for(chosen[1], port=8004)
    for part, remaining in (
        (port_request(32768, 80), chosen[1:]),
        (port_request(8004, 81), chosen[:1]),
        (port_request(32769, 80), chosen),
    ):
        left = without(chosen, there, part)
        assert left.port_requests == tuple(remaining) and bool(left.cut) == (len(remaining) < 2)


def test_one_address_of_several_can_be_unpublished():
    both = port_request(8080, 80, addresses=(LOOP, LAN))
    left = without([both], given_for(both), port_request(8080, 80, addresses=(LOOP,)))
    assert left.port_requests == (replace(both, addresses=(LAN,)),) and singles(left.publications) == {(LAN, 8080, 80)}
    every = port_request(8080, 80)
    left = without([every], given_for(every), port_request(8080, 80, addresses=(EVERY_IPV4,)))
    assert left.port_requests == (replace(every, addresses=(EVERY_IPV6,)),)
    assert singles(left.publications) == {(EVERY_IPV6, 8080, 80)}


def test_removing_an_unpublished_port_changes_nothing():
    run = port_request(8000, 80, 3)
    for part in (
        port_request(8000, 81),
        port_request(0, 83),
        port_request(8000, 80, addresses=(LOOP,)),
        replace(port_request(0, 80), protocol="udp"),
    ):
        left = without([run], given_for(run), part)
        assert (left.port_requests, left.publications, left.cut) == ((run,), tuple(given_for(run)), ())


RUNS = st.builds(port_request, st.integers(100, 140), st.integers(1, 30), st.integers(1, 12))


@given(st.lists(RUNS, max_size=5, unique_by=lambda publication: publication.port), RUNS)
def test_a_removal_agrees_with_one_of_single_ports(runs, part):
    there = given_for(*runs)
    left = without(runs, there, part)
    taken = {(part.port + step, part.target + step) for step in range(part.count)}
    expected = [single for run in there for single in singles([run]) if single[1:] not in taken]
    found = [single for run in left.publications for single in singles([run])]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    wished = [single for run in given_for(*left.port_requests) for single in singles([run])]
    assert sorted(map(str, wished)) == sorted(map(str, expected))
    for whole, pieces in left.cut:
        assert singles(pieces) == {single for single in singles([whole]) if single[1:] not in taken}


def rule(port, count, shift=0):
    return Published("udp", EVERY_IPV4, port, LAN, port + shift, count)


RULES = st.lists(st.builds(rule, st.integers(1, 30), st.integers(1, 9), st.integers(0, 1)), max_size=5)


@given(RULES, RULES)
def test_the_difference_of_what_is_published_agrees_with_one_of_single_ports(ones, others):
    def expanded(rules):
        return {(rule.port + step, rule.target_port + step) for rule in rules for step in range(rule.count)}

    assert expanded(minus(ones, others)) == expanded(ones) - expanded(others)
