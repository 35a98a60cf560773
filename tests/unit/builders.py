"""Builders of records and states with defaults for tests."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from netd.api import EndpointSettings
from netd.common.ids import new_id, now
from netd.engine.state.state import State
from netd.model import Endpoint, Network, Pool, Publication, Sandbox


def network(name, subnet="10.0.0.0/24", **kwargs):
    found = IPv4Network(subnet)
    pool = Pool(found, found[1])
    identifier = kwargs.pop("id", None) or new_id()
    return Network(id=identifier, name=name, created=now(), driver="bridge", pools=(pool,), **kwargs)


def endpoint(on, last, **asked):
    address = IPv4Interface((on.pool(4).subnet[last], on.pool(4).subnet.prefixlen))
    return Endpoint(
        id=new_id(),
        network=on.id,
        settings=EndpointSettings(**asked),
        interface=f"eth{last}",
        mac="02:42:" + address.ip.packed.hex(":"),
        address=address,
        gateway=None if on.internal else on.pool(4).gateway,
    )


def sandbox(name, *endpoints, **kwargs):
    identifier = kwargs.pop("id", new_id())
    return Sandbox(
        id=identifier, name=name, hostname=kwargs.pop("hostname", identifier[:12]), endpoints=endpoints, **kwargs
    )


def state(*networks, sandboxes=()):
    made = State()
    for network_ in networks:
        made.put_network(network_)
    for sandbox_ in sandboxes:
        made.put_sandbox(sandbox_)
    return made


def publication(port, target, count=1, address="0.0.0.0", protocol="tcp"):
    return Publication(protocol=protocol, address=IPv4Address(address), port=port, target=target, count=count)
