"""Targets of published ports while networks and ports are added and removed, with real sockets for host ports."""

from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_address

import pytest
from msgspec.structs import replace

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6
from netd.common.errors import BadRequest, Conflict
from netd.drivers.registry import discover
from netd.engine.desired_state import DesiredState
from netd.engine.sandboxes.publishing import policies_of, publications, with_ports
from netd.engine.views.network_settings import ports
from netd.kernel.ports.held_ports import HeldPorts
from netd.model import Pool, PortRequest
from netd.portmap.policy import PublishPolicy
from netd.portmap.ports import Ports
from netd.portmap.rules import Published
from tests.unit.builders import endpoint, network, sandbox, state

LOOP4, LOOP6, LAN = IPv4Address("127.0.0.1"), IPv6Address("::1"), IPv4Address("192.0.2.1")
WEB = PortRequest(protocol="tcp", target=80, port=8080, last=8080)


def dual(name, subnet, prefix):
    """Return a network with both families."""
    made = network(name, subnet, ipv6=True)
    six = Pool(prefix.network, prefix.network[1])
    return replace(made, pools=(*made.pools, six))


def joined(on, last, four=True, six=True):
    """Return an endpoint with addresses of the given families."""
    made = endpoint(on, last)
    pool = on.pool(6)
    if six and pool:
        address = IPv6Interface((pool.subnet[last], 64))
        made = replace(made, address6=address, gateway6=None if on.internal else pool.gateway)
    return made if four else replace(made, address=None, gateway=None)


class PortsOf:
    """The port sockets of a temporary host."""

    def __init__(self, node):
        self.node, self.ports = node, Ports(HeldPorts())

    def __getattr__(self, name):
        method = getattr(self.ports, name)
        return lambda *words: self.node.run(lambda: method(*words))


class Publisher:
    """The parts of the engine's context that publishing needs."""

    def __init__(self, node, *networks):
        self.state, self.drivers, self.ports = state(*networks), discover(), PortsOf(node)

    def driver(self, network):
        return self.drivers.get(network.driver)

    def publish(self, after, before=None):
        with ExitStack() as undo:
            made = replace(after, publications=publications(self, before, after, undo))
            undo.pop_all()
        return made

    def published(self, sandbox):
        return DesiredState(self.state, self.drivers).published(sandbox)


@pytest.fixture
def make_publisher(lab):
    made = []

    def make(*networks):
        made.append(Publisher(lab.make_host("machine"), *networks))
        return made[-1]

    yield make
    for publisher in made:
        publisher.ports.close()


@pytest.fixture
def old():
    return network("old", "10.1.0.0/24")


@pytest.fixture
def new():
    return dual("new", "10.2.0.0/24", IPv6Interface("fd00:2::/64"))


def test_a_port_of_both_families_is_one_number_and_is_shown_for_both(make_publisher, new):
    publisher = make_publisher(new)
    web = publisher.publish(
        sandbox("web", joined(new, 2), port_requests=(PortRequest(protocol="tcp", target=80),), exposed=("80/tcp",))
    )
    four, six = ports(web)["80/tcp"]
    assert (four.host_ip, six.host_ip) == ("0.0.0.0", "::") and four.host_port == six.host_port
    assert {(rule.address.version, rule.target) for rule in publisher.published(web)} == {
        (4, IPv4Address("10.2.0.2")),
        (6, IPv6Address("fd00:2::2")),
    }


def test_the_port_of_a_family_moves_to_the_network_that_has_it_and_back(make_publisher, old, new):
    """A port number chosen by netd is kept, in both families."""
    publisher = make_publisher(old, new)
    port_requests = (WEB, PortRequest(protocol="tcp", target=81))
    here = publisher.publish(sandbox("web", joined(old, 2), port_requests=port_requests))
    chosen = next(publication.port for publication in here.publications if publication.target == 81)
    assert {publication.address for publication in here.publications} == {EVERY_IPV4}
    both = publisher.publish(replace(here, endpoints=(*here.endpoints, joined(new, 3, four=False))), here)
    assert {(publication.address, publication.port, publication.target) for publication in both.publications} == {
        (address, number, target)
        for address in (EVERY_IPV4, EVERY_IPV6)
        for number, target in ((8080, 80), (chosen, 81))
    }
    assert {rule.target for rule in publisher.published(both)} == {IPv4Address("10.1.0.2"), IPv6Address("fd00:2::3")}
    back = publisher.publish(replace(both, endpoints=here.endpoints), both)
    assert back.publications == here.publications


def test_an_internal_network_publishes_on_loopback_addresses_only(make_publisher):
    hidden = network("hidden", "10.3.0.0/24", internal=True)
    publisher = make_publisher(hidden)
    port_requests = (WEB, replace(WEB, target=81, port=8081, last=8081, addresses=(LOOP4,)))
    web = publisher.publish(sandbox("web", endpoint(hidden, 2), port_requests=port_requests))
    assert publisher.published(web) == {Published("tcp", LOOP4, 8081, IPv4Address("10.3.0.2"), 81)}


def test_ports_are_added_beside_what_is_there(make_publisher, old):
    publisher = make_publisher(old)
    web = publisher.publish(sandbox("web", endpoint(old, 2), port_requests=(WEB,)))
    with ExitStack() as undo:
        more = with_ports(publisher, web, (replace(WEB, target=81, port=8081, last=8081),), undo)
        assert more.publications[0] is web.publications[0] and more.publications[1].port == 8081
        assert len(publisher.published(more)) == 2
    again = (replace(WEB, port=8081, last=8081),)
    with ExitStack() as undo:
        assert with_ports(publisher, web, again, undo).publications[1].port == 8081, (
            "the port of the failed change is free again"
        )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (LOOP6, r"\[::1\]: none of its networks publishes IPv6"),
        (ip_address("2001:db8::1"), "enable IPv6 on one of them"),
    ],
)
def test_an_added_port_that_nothing_would_come_of_is_refused(make_publisher, old, address, words):
    publisher = make_publisher(old)
    web = sandbox("web", endpoint(old, 2))
    with ExitStack() as undo, pytest.raises(BadRequest, match=words):
        with_ports(publisher, web, (replace(WEB, addresses=(address,)),), undo)


def test_nothing_is_added_where_nothing_can_be_published(make_publisher):
    hidden = network("hidden", "10.3.0.0/24", internal=True)
    publisher = make_publisher(hidden)
    with ExitStack() as undo, pytest.raises(Conflict, match="is on no network that publishes ports"):
        with_ports(publisher, sandbox("lonely"), (WEB,), undo)
    with ExitStack() as undo, pytest.raises(BadRequest, match="this host alone"):
        with_ports(publisher, sandbox("web", endpoint(hidden, 2)), (WEB,), undo)
    with ExitStack() as undo, pytest.raises(BadRequest, match="only this host has access"):
        with_ports(publisher, sandbox("web", endpoint(hidden, 2)), (replace(WEB, addresses=(LAN,)),), undo)
    assert policies_of(publisher.state, publisher.drivers, sandbox("web", endpoint(hidden, 2))) == {
        4: PublishPolicy(local=True)
    }
