"""Allocation of subnets and addresses, and the messages of refusals."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netd.common.errors import BadRequest, ServerError
from netd.ipam.address_pool import EDGE, GATEWAY, AddressPool, AddressTaken, Exhausted
from netd.ipam.pool_spec import IpamConfig, make_pool, read
from netd.ipam.pools import (
    DEFAULT,
    DOCKER_SOURCES,
    AddressRanges,
    UsedSubnets,
    avoided,
    configured,
    has_size,
    local_source,
    routed_ranges,
)
from netd.model import Pool, PoolSpec

NET = IPv4Network


def choose(used, routed=(), size=None, sources=DEFAULT):
    """Choose a subnet as netd does, with new allocation state."""
    taken = UsedSubnets()
    for subnet in used:
        taken.put(subnet, "x")
    return taken.choose(sources, routed_ranges(routed), size)


def test_pools_are_given_in_dockers_order_and_then_four_thousand_more():
    taken, found = UsedSubnets(), []
    while (subnet := taken.choose(DEFAULT, AddressRanges())) is not None:
        taken.put(subnet, "x")
        found.append(subnet)
    assert found[:3] == [NET("172.17.0.0/16"), NET("172.18.0.0/16"), NET("172.19.0.0/16")]
    assert found[14:17] == [NET("172.31.0.0/16"), NET("192.168.0.0/20"), NET("192.168.16.0/20")]
    assert found[30:32] == [NET("192.168.240.0/20"), NET("10.208.0.0/24")]
    assert len(found) > 4000 and len(set(found)) == len(found)
    taken.drop(found[5])
    taken.drop(found[3000])
    assert taken.choose(DEFAULT, AddressRanges()) == found[5]
    taken.put(found[5], "x")
    assert taken.choose(DEFAULT, AddressRanges()) == found[3000]


def test_a_freed_subnet_is_given_again_at_once():
    assert choose([NET("172.17.0.0/16"), NET("172.19.0.0/16")]) == NET("172.18.0.0/16")


def test_a_link_of_the_host_takes_the_whole_block_it_lies_in():
    assert choose([], [NET("172.17.3.0/24")]) == NET("172.18.0.0/16")


def test_routes_as_short_as_a_default_route_are_not_avoided():
    assert choose([], [NET("128.0.0.0/1"), NET("0.0.0.0/1")]) == NET("172.17.0.0/16")


def test_subnets_remain_if_all_private_ranges_are_routed():
    company = [NET("172.16.0.0/12")]
    assert choose([], company) == NET("192.168.0.0/20")
    company += [NET("192.168.0.0/16"), NET("10.0.0.0/8")]
    assert choose([], company) == NET("198.18.0.0/24")
    assert choose([], [*company, NET("198.18.0.0/15")]) is None


def test_a_size_can_be_asked_for():
    assert choose([NET("172.17.0.0/24")], (), 24) == NET("172.17.1.0/24")
    assert has_size(DEFAULT, 12) and not has_size(DEFAULT, 11)
    assert choose([], (), 11) is None


def test_an_installation_has_ipv6_subnets_of_its_own():
    source, other = local_source("one"), local_source("other")
    assert source == local_source("one") and source.base != other.base
    assert source.base.prefixlen == 48 and source.base.subnet_of(IPv6Network("fd00::/8"))
    first = choose([], sources=[source])
    assert first == IPv6Network((source.base.network_address, 64))
    assert choose([first], sources=[source]) != first


BLOCKS = st.builds(lambda a, p: NET((a, p), strict=False), st.integers(0xAC100000, 0xAC2FFFFF), st.integers(14, 30))


@given(st.lists(BLOCKS))
def test_what_is_chosen_overlaps_nothing_and_nothing_lower_is_free(routed):
    sources = DOCKER_SOURCES
    found = choose((), routed, sources=sources)
    for source in sources:
        for block in source.base.subnets(new_prefix=source.size):
            free = not any(block.overlaps(route) for route in routed)
            if block == found:
                assert free
                return
            assert not free
    assert found is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.sampled_from([None, 18, 24])), max_size=40), BLOCKS)
def test_the_lowest_free_subnet_is_found_whatever_came_and_went(steps, routed):
    """The cache of full pools never hides a free block."""
    taken, ours, avoided = UsedSubnets(), [], routed_ranges([routed])
    for grows, which, size in steps:
        if grows:
            found = taken.choose(DOCKER_SOURCES[:4], avoided, size)
            assert found == choose(ours, [routed], size, DOCKER_SOURCES[:4])
            if found is not None:
                taken.put(found, "x")
                ours.append(found)
        elif ours:
            taken.drop(ours.pop(which % len(ours)))
    for subnet in ours:
        assert taken.overlapping(subnet).subnet == subnet


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (IpamConfig("10.91.0.1/24"), "invalid network config:\ninvalid subnet 10.91.0.1/24: it should be 10.91.0.0/24"),
        (
            IpamConfig("zork"),
            "invalid CIDR address: zork (the prefix length is missing); write a subnet like 172.18.0.0/16",
        ),
        (IpamConfig("10.91.0.0/33"), "invalid CIDR address: 10.91.0.0/33 (an IPv4 prefix length is at most 32)"),
        (IpamConfig("10.91.0.0/024"), "invalid CIDR address: 10.91.0.0/024 ('024' is not a prefix length)"),
        (IpamConfig("224.0.0.0/24"), "multicast subnet '224.0.0.0/24' is not allowed"),
        (IpamConfig("127.1.0.0/24"), "loopback"),
        (IpamConfig("ff02::1/64"), "multicast subnet 'ff02::1/64' is not allowed"),
        (IpamConfig("fe80::/80"), "'fe80::/80' clashes with the Link-Local prefix 'fe80::/64'"),
        (
            IpamConfig("10.91.0.0/24", ip_range="10.91.0.1/25"),
            "invalid ip-range 10.91.0.1/25: it should be 10.91.0.0/25",
        ),
        (
            IpamConfig("10.91.0.0/24", ip_range="10.91.0.0/23"),
            "invalid ip-range 10.91.0.0/23: CIDR block is bigger than its parent subnet 10.91.0.0/24",
        ),
        (IpamConfig("10.91.0.0/24", ip_range="10.92.0.0/25"), "parent subnet 10.91.0.0/24 doesn't contain ip-range"),
        (
            IpamConfig("10.91.0.0/24", ip_range="fd00::/65"),
            "invalid ip-range fd00::/65: parent subnet is an IPv4 block",
        ),
        (
            IpamConfig("10.91.0.0/24", gateway="10.92.0.1"),
            "invalid gateway 10.92.0.1: parent subnet 10.91.0.0/24 doesn't contain this address",
        ),
        (IpamConfig("fd00::/64", gateway="10.92.0.1"), "invalid gateway 10.92.0.1: parent subnet is an IPv6 block"),
        (IpamConfig("10.91.0.0/24", gateway="zork"), "invalid IP address: zork; write one like 172.18.0.1 or fd00::1"),
        (
            IpamConfig(gateway="10.92.0.1"),
            "invalid gateway 10.92.0.1: parent subnet invalid Prefix doesn't contain this address",
        ),
        (IpamConfig("0.0.0.0/0", gateway="10.92.0.1"), "parent subnet 0.0.0.0/0 doesn't contain this address"),
        (
            IpamConfig("10.91.0.0/24", auxiliary={"x": "10.92.0.1"}),
            "invalid auxiliary address x: parent subnet 10.91.0.0/24 doesn't contain this address",
        ),
    ],
)
def test_invalid_entries_are_refused_in_dockers_words(entry, words):
    with pytest.raises(BadRequest) as refused:
        read([entry])
    assert words in refused.value.message


def test_all_faults_are_reported_together():
    with pytest.raises(BadRequest) as refused:
        read([IpamConfig("10.91.0.1/24", gateway="10.93.0.1")])
    assert refused.value.message == (
        "invalid network config:\n* invalid subnet 10.91.0.1/24: it should be 10.91.0.0/24"
        "\n* invalid gateway 10.93.0.1: parent subnet 10.91.0.0/24 doesn't contain this address"
    )


def test_entries_are_put_in_order_and_those_of_a_family_that_is_off_are_passed_over():
    entries = [IpamConfig("fd00:1::/64"), IpamConfig("::ffff:10.91.0.0/120", gateway="::ffff:10.91.0.9")]
    found = read(entries)
    assert [str(pool.subnet) for pool in found] == ["10.91.0.0/24", "fd00:1::/64"]
    assert found[0].gateway == IPv4Address("10.91.0.9")
    assert [str(pool.subnet) for pool in read([*entries, IpamConfig("fe80::/80")], [4])] == ["10.91.0.0/24"]


def laid_out(subnet: str, **kwargs) -> Pool:
    found = ip_network(subnet)
    return make_pool(PoolSpec(found, **kwargs), found)


def test_the_gateway_is_the_first_address_of_the_range_or_subnet():
    assert laid_out("10.91.0.0/24").gateway == IPv4Address("10.91.0.1")
    assert laid_out("10.91.0.0/24", ip_range=NET("10.91.0.128/25")).gateway == IPv4Address("10.91.0.128")
    assert laid_out("10.91.0.0/31").gateway == IPv4Address("10.91.0.0")
    assert laid_out("10.91.0.0/32").gateway == IPv4Address("10.91.0.0")
    assert laid_out("10.91.0.0/24", auxiliary={"x": IPv4Address("10.91.0.1")}).gateway == IPv4Address("10.91.0.2")
    assert str(laid_out("fd00::/64").gateway) == "fd00::1"
    assert str(laid_out("fd00::/127").gateway) == "fd00::1"


def test_where_no_gateway_is_wanted_none_is_set_aside_but_one_that_is_given():
    subnet = NET("10.91.0.0/31")
    assert make_pool(PoolSpec(subnet), subnet, has_gateway=False).gateway is None
    assert take_all(AddressPool(make_pool(PoolSpec(subnet), subnet, has_gateway=False))) == ["10.91.0.0", "10.91.0.1"]
    assert make_pool(PoolSpec(subnet, subnet[1]), subnet, has_gateway=False).gateway == subnet[1]


def test_reserved_addresses_are_refused_as_docker_does():
    with pytest.raises(ServerError, match=r"failed to allocate gateway \(10.91.0.0\): Address already in use"):
        laid_out("10.91.0.0/24", gateway=IPv4Address("10.91.0.0"))
    with pytest.raises(ServerError, match=r"secondary ip address \(x:10.91.0.9\): Address already in use"):
        laid_out("10.91.0.0/24", gateway=IPv4Address("10.91.0.9"), auxiliary={"x": IPv4Address("10.91.0.9")})
    with pytest.raises(ServerError, match=r"failed to allocate gateway \(\): no available addresses on this pool"):
        laid_out("fd00::/128")


def take_all(addresses: AddressPool) -> list[str]:
    found = []
    while True:
        try:
            found.append(str(addresses.take_next("x")))
        except Exhausted:
            return found


def test_a_slash_30_has_room_for_one_container_and_a_31_too():
    assert take_all(AddressPool(laid_out("10.0.0.0/30"))) == ["10.0.0.2"]
    assert take_all(AddressPool(laid_out("10.0.0.0/31"))) == ["10.0.0.1"]


def test_a_range_limits_what_is_chosen_and_not_what_is_asked_for():
    addresses = AddressPool(laid_out("10.0.0.0/24", ip_range=NET("10.0.0.8/30")))
    assert take_all(addresses) == ["10.0.0.9", "10.0.0.10", "10.0.0.11"]
    addresses.take(IPv4Address("10.0.0.77"), "y")
    addresses.release(IPv4Address("10.0.0.77"))
    assert take_all(addresses) == []


def test_refusals_of_taken_addresses_name_the_owner():
    addresses = AddressPool(laid_out("10.0.0.0/24"))
    addresses.take(IPv4Address("10.0.0.9"), "web")
    for address, holder in (("10.0.0.9", "web"), ("10.0.0.1", GATEWAY), ("10.0.0.0", EDGE), ("10.0.0.255", EDGE)):
        with pytest.raises(AddressTaken) as taken:
            addresses.take(IPv4Address(address), "other")
        assert taken.value.holder == holder


class AllocationModel(RuleBasedStateMachine):
    """Unused addresses are given first, then the least recently released; compared with a linear search in a list."""

    numbers = st.integers(0, 15)

    def __init__(self):
        super().__init__()
        pool = laid_out("10.0.0.0/28")
        self.addresses, self.subnet = AddressPool(pool), pool.subnet
        self.line, self.ours, self.declared = [pool.subnet[at] for at in range(2, 15)], set(), set()

    @property
    def free(self):
        return [address for address in self.line if address not in self.declared]

    def mine(self, address):
        self.ours.add(address)
        self.line.remove(address)

    @rule()
    def take_next(self):
        if not self.free:
            with pytest.raises(Exhausted):
                self.addresses.take_next("x")
            return
        first = self.free[0]
        assert self.addresses.take_next("x") == first
        self.mine(first)

    @rule(at=numbers)
    def take_if_free(self, at):
        address = self.subnet[at]
        assert self.addresses.take_if_free(address, "x") == (address in self.free)
        if address in self.free:
            self.mine(address)

    @rule(at=numbers)
    def take(self, at):
        if self.subnet[at] in self.free:
            self.addresses.take(self.subnet[at], "x")
            self.mine(self.subnet[at])
        else:
            with pytest.raises(AddressTaken):
                self.addresses.take(self.subnet[at], "x")

    @rule(at=numbers)
    def release(self, at):
        if self.subnet[at] in self.ours:
            self.addresses.release(self.subnet[at])
            self.ours.discard(self.subnet[at])
            self.line.append(self.subnet[at])

    @rule()
    def cancel(self):
        if self.free:
            before = list(self.line)
            self.addresses.return_unused(self.addresses.take_next("x"))
            assert self.line == before

    @rule(at=st.integers(2, 14))
    def declare(self, at):
        self.addresses.declare(self.subnet[at], "y")
        self.declared.add(self.subnet[at])

    @rule(at=st.integers(2, 14))
    def undeclare(self, at):
        address = self.subnet[at]
        self.addresses.undeclare(address, "y")
        if address in self.declared and address in self.line:
            self.line.remove(address)
            self.line.append(address)
        self.declared.discard(address)

    @invariant()
    def counts_agree(self):
        assert self.addresses.available == len(self.free)


test_addresses_are_given_in_line = AllocationModel.TestCase


def test_a_declared_address_is_its_owners_until_it_is_released():
    addresses = AddressPool(laid_out("10.0.0.0/29"))
    second = IPv4Address("10.0.0.2")
    addresses.declare(second, "db")
    addresses.declare(second, "copy")
    assert str(addresses.take_next("web")) == "10.0.0.3"
    for other in ("web", "copy"):
        with pytest.raises(AddressTaken) as taken:
            addresses.take(second, other)
        assert taken.value.holder == "db"
    addresses.take(second, "db")
    with pytest.raises(AddressTaken):
        addresses.take(second, "db")
    addresses.release(second)
    addresses.undeclare(second, "db")
    addresses.take(second, "copy")
    addresses.release(second)
    addresses.undeclare(second, "copy")
    assert take_all(addresses) == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


def test_counts_go_as_far_as_dockers():
    addresses = AddressPool(laid_out("fd00::/56", auxiliary={"x": IPv6Address("fd00::9")}))
    assert (addresses.in_use, addresses.available) == (3, 2**64 - 1)
    addresses = AddressPool(laid_out("10.0.0.0/24", ip_range=NET("10.0.0.8/30")))
    assert (addresses.in_use, addresses.available) == (3, 3)


def test_allocation_in_a_slash_16_takes_constant_time():
    """Measured in lookups, not in time."""
    looked_up = 0

    class Counting(dict):
        def __contains__(self, key):
            nonlocal looked_up
            looked_up += 1
            return super().__contains__(key)

    addresses = AddressPool(laid_out("10.0.0.0/16"))
    addresses._holders = Counting(addresses._holders)
    for _ in range(60_000):
        addresses.take_next("x")
    assert looked_up < 60_000 * 1.01
    for _ in range(5_533):
        addresses.take_next("x")
    looked_up = 0
    for step in range(1000):
        addresses.release(IPv4Address(f"10.0.200.{step % 200}"))
        assert str(addresses.take_next("x")) == f"10.0.200.{step % 200}"
    assert looked_up < 3000


def test_addresses_of_a_slash_64_are_allocated_in_order():
    addresses = AddressPool(laid_out("fd00::/64"))
    assert [str(addresses.take_next("x")) for _ in range(3)] == ["fd00::2", "fd00::3", "fd00::4"]


def test_pools_of_the_configuration_are_read_in_order_and_without_those_within_others():
    found = configured(["10.20.0.0/16 24", "10.10.0.0/15 /20", "10.11.0.0/16 24", "fd00:1::/48 64"])
    assert [str(pool) for pool in found] == ["10.10.0.0/15 in /20", "10.20.0.0/16 in /24", "fd00:1::/48 in /64"]


@pytest.mark.parametrize("text", ["10.20.0.0/16", "10.20.0.0/16 8", "10.20.0.0/16 33", "10.20.0.1/16 24", "zork 24"])
def test_pools_that_cannot_be_divided_are_refused_by_name(text):
    with pytest.raises(BadRequest, match=r"default_address_pools: .*10.10.0.0/16"):
        configured([text])
    with pytest.raises(BadRequest, match="avoid"):
        avoided(["10.20.0.1/16"])


def test_two_thousand_networks_come_and_go():
    taken, there = UsedSubnets(), []
    for _ in range(2):
        while len(there) < 2000:
            subnet = taken.choose(DEFAULT, AddressRanges())
            taken.put(subnet, "x")
            there.append(subnet)
        assert len(set(there)) == 2000
        for subnet in there:
            taken.drop(subnet)
        there.clear()
    assert taken.choose(DEFAULT, AddressRanges()) == DEFAULT[0].base
