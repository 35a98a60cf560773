"""Subnets and addresses: the lowest that is free, nothing twice, and a clear word when it cannot be."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest, ServerError
from netd.ipam.addresses import EDGE, GATEWAY, Addresses, AddressTaken, Exhausted
from netd.ipam.pools import DEFAULT, choose
from netd.ipam.spec import Asked, lay_out, read
from netd.model import Pool, PoolSpec

NET = IPv4Network


def test_pools_are_given_in_dockers_order_until_none_is_left():
    used: list[IPv4Network] = []
    for _ in range(31):
        used.append(choose(used, ()))
    assert used[:3] == [NET("172.17.0.0/16"), NET("172.18.0.0/16"), NET("172.19.0.0/16")]
    assert used[14:17] == [NET("172.31.0.0/16"), NET("192.168.0.0/20"), NET("192.168.16.0/20")]
    with pytest.raises(BadRequest, match="all predefined address pools have been fully subnetted"):
        choose(used, ())


def test_a_freed_subnet_is_given_again_at_once():
    used = [NET("172.17.0.0/16"), NET("172.19.0.0/16")]
    assert choose(used, ()) == NET("172.18.0.0/16")


def test_a_link_of_the_host_takes_the_whole_block_it_lies_in():
    assert choose([], [NET("172.17.3.0/24")]) == NET("172.18.0.0/16")


def test_half_the_world_by_a_vpn_is_no_reason_to_avoid_anything():
    assert choose([], [NET("128.0.0.0/1"), NET("0.0.0.0/1")]) == NET("172.17.0.0/16")


def test_routes_that_cover_whole_pools_are_respected_while_something_else_is_free():
    company = [NET("172.16.0.0/12")]
    assert choose([], company) == NET("192.168.0.0/20")
    assert choose([], [*company, NET("192.168.0.0/16")]) == NET("172.17.0.0/16")


def test_a_size_can_be_asked_for():
    assert choose([NET("172.17.0.0/24")], (), 24) == NET("172.17.1.0/24")
    with pytest.raises(BadRequest, match="invalid address pool"):
        choose([], (), 12)


@given(
    st.lists(
        st.builds(lambda a, p: NET((a, p), strict=False), st.integers(0xAC100000, 0xAC2FFFFF), st.integers(14, 30))
    )
)
def test_what_is_chosen_overlaps_nothing_and_nothing_lower_is_free(used):
    try:
        found = choose(used, ())
    except BadRequest:
        found = None
    for source in DEFAULT:
        for block in source.base.subnets(new_prefix=source.size):
            free = not any(block.overlaps(one) for one in used)
            if block == found:
                assert free
                return
            assert not free
    assert found is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Asked("10.91.0.1/24"), "invalid subnet 10.91.0.1/24: it should be 10.91.0.0/24"),
        (Asked("zork"), "invalid subnet zork: it has no '/'"),
        (Asked("10.91.0.0/33"), "invalid subnet 10.91.0.0/33"),
        (Asked("10.91.0.4/32"), "10.91.0.4/32: it is too small"),
        (Asked("224.0.0.0/24"), "multicast"),
        (Asked("10.91.0.0/24", ip_range="10.91.0.1/25"), "invalid ip-range 10.91.0.1/25: it should be 10.91.0.0/25"),
        (Asked("10.91.0.0/24", ip_range="10.91.0.0/23"), "bigger than its parent subnet 10.91.0.0/24"),
        (Asked("10.91.0.0/24", ip_range="10.92.0.0/25"), "parent subnet 10.91.0.0/24 doesn't contain ip-range"),
        (Asked("10.91.0.0/24", gateway="10.92.0.1"), "invalid gateway 10.92.0.1: parent subnet 10.91.0.0/24 doesn't"),
        (Asked("10.91.0.0/24", gateway="zork"), "invalid gateway zork"),
        (Asked(gateway="10.92.0.1"), "invalid gateway 10.92.0.1: give the subnet"),
        (Asked("10.91.0.0/24", auxiliary={"x": "10.92.0.1"}), "invalid auxiliary address x 10.92.0.1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(entry, words):
    with pytest.raises(BadRequest) as refused:
        read([entry])
    assert words in refused.value.message and "\n" not in refused.value.message


def test_all_faults_are_told_at_once():
    with pytest.raises(BadRequest) as refused:
        read([Asked("10.91.0.0/24", "10.92.0.0/25", "10.93.0.1")])
    assert "10.92.0.0/25" in refused.value.message and "10.93.0.1" in refused.value.message


def laid_out(subnet: str, **kwargs) -> Pool:
    return lay_out(PoolSpec(NET(subnet), **kwargs), NET(subnet))


def test_the_gateway_is_the_first_address_of_the_range_or_subnet():
    assert laid_out("10.91.0.0/24").gateway == IPv4Address("10.91.0.1")
    assert laid_out("10.91.0.0/24", ip_range=NET("10.91.0.128/25")).gateway == IPv4Address("10.91.0.128")
    assert laid_out("10.91.0.0/31").gateway == IPv4Address("10.91.0.0")
    assert laid_out("10.91.0.0/24", auxiliary={"x": IPv4Address("10.91.0.1")}).gateway == IPv4Address("10.91.0.2")


def test_addresses_that_are_spoken_for_are_refused_as_docker_does():
    with pytest.raises(ServerError, match=r"failed to allocate gateway \(10.91.0.0\): Address already in use"):
        laid_out("10.91.0.0/24", gateway=IPv4Address("10.91.0.0"))
    with pytest.raises(ServerError, match=r"secondary ip address \(x:10.91.0.9\): Address already in use"):
        laid_out("10.91.0.0/24", gateway=IPv4Address("10.91.0.9"), auxiliary={"x": IPv4Address("10.91.0.9")})


def take_all(addresses: Addresses) -> list[str]:
    found = []
    while True:
        try:
            found.append(str(addresses.take_lowest("x")))
        except Exhausted:
            return found


def test_a_slash_30_has_room_for_one_container_and_a_31_too():
    assert take_all(Addresses(laid_out("10.0.0.0/30"))) == ["10.0.0.2"]
    assert take_all(Addresses(laid_out("10.0.0.0/31"))) == ["10.0.0.1"]


def test_a_range_limits_what_is_chosen_and_not_what_is_asked_for():
    addresses = Addresses(laid_out("10.0.0.0/24", ip_range=NET("10.0.0.8/30")))
    assert take_all(addresses) == ["10.0.0.9", "10.0.0.10", "10.0.0.11"]
    addresses.take(IPv4Address("10.0.0.77"), "y")
    addresses.release(IPv4Address("10.0.0.77"))
    assert take_all(addresses) == []


def test_taken_and_reserved_addresses_say_whose_they_are():
    addresses = Addresses(laid_out("10.0.0.0/24"))
    addresses.take(IPv4Address("10.0.0.9"), "web")
    for address, holder in (("10.0.0.9", "web"), ("10.0.0.1", GATEWAY), ("10.0.0.0", EDGE), ("10.0.0.255", EDGE)):
        with pytest.raises(AddressTaken) as taken:
            addresses.take(IPv4Address(address), "other")
        assert taken.value.holder == holder


@given(st.lists(st.tuples(st.sampled_from(["lowest", "take", "release"]), st.integers(0, 15)), max_size=60))
def test_the_lowest_free_address_is_given_whatever_happened_before(steps):
    pool = laid_out("10.0.0.0/28")
    addresses = Addresses(pool)
    free = {int(one) for one in pool.subnet} - {int(pool.subnet[0]), int(pool.subnet[1]), int(pool.subnet[15])}
    ours: set[int] = set()
    for what, offset in steps:
        number = int(pool.subnet[0]) + offset
        if what == "lowest" and free:
            assert int(addresses.take_lowest("x")) == min(free)
            ours.add(min(free))
        elif what == "take" and number in free:
            addresses.take(IPv4Address(number), "x")
            ours.add(number)
        elif what == "release" and number in ours:
            addresses.release(IPv4Address(number))
            ours.discard(number)
            free.add(number)
        free -= ours


def test_a_full_slash_16_costs_no_more_per_address_than_a_small_one():
    """Counted in how often an address is looked up, not in time."""
    addresses = Addresses(laid_out("10.0.0.0/16"))
    for _ in range(65_533):
        addresses.take_lowest("x")

    looked_up = 0

    class Counting(dict):
        def __contains__(self, key):
            nonlocal looked_up
            looked_up += 1
            return super().__contains__(key)

    addresses._holders = Counting(addresses._holders)
    for step in range(1000):
        addresses.release(IPv4Address("10.0.0.2"))
        addresses.release(IPv4Address(f"10.0.200.{step % 200}"))
        assert str(addresses.take_lowest("x")) == "10.0.0.2"
        assert str(addresses.take_lowest("x")) == f"10.0.200.{step % 200}"
    assert looked_up < 3000
