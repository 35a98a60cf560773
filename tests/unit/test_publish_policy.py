"""The families in which a port request is published."""

from ipaddress import IPv4Address, IPv6Address

from msgspec.structs import replace

from netd.common.addresses import EVERY_IPV4, EVERY_IPV6
from netd.model import PortRequest
from netd.portmap.policy import PublishPolicy, resolved, unserved

LOOP4, LOOP6, LAN = IPv4Address("127.0.0.1"), IPv6Address("::1"), IPv4Address("192.0.2.1")
BOTH = {4: PublishPolicy((EVERY_IPV4,)), 6: PublishPolicy((EVERY_IPV6,))}
WEB = PortRequest(protocol="tcp", target=80, port=8080, last=8080)


def test_no_address_is_every_address_of_the_families_that_there_are():
    assert resolved(WEB, BOTH).addresses == (EVERY_IPV4, EVERY_IPV6)
    assert resolved(WEB, {6: BOTH[6]}).addresses == (EVERY_IPV6,)
    assert resolved(replace(WEB, addresses=(LOOP6,)), {4: BOTH[4]}) is None
    assert list(unserved([replace(WEB, addresses=(LOOP6, LOOP4))], {4: BOTH[4]})) == [
        (replace(WEB, addresses=(LOOP6, LOOP4)), LOOP6)
    ]


def test_internal_networks_publish_for_the_host_itself_and_only_when_asked_to():
    ways = {4: PublishPolicy(local=True), 6: PublishPolicy(local=True)}
    assert resolved(WEB, ways) is None
    mixed = replace(WEB, addresses=(LOOP4, LAN, LOOP6, None))
    assert resolved(mixed, ways).addresses == (LOOP4, LOOP6)
    assert [address for _, address in unserved([mixed], ways)] == [LAN]


def test_a_routed_family_takes_no_port_of_the_host():
    ways = {4: BOTH[4], 6: PublishPolicy((EVERY_IPV6,), routed=True)}
    assert resolved(WEB, ways).addresses == (EVERY_IPV4,)
    assert resolved(replace(WEB, addresses=(LOOP6,)), ways) is None
