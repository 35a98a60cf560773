"""A remote IPAM driver, called as the engine calls it."""

import asyncio
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network

import pytest

from netd.common.errors import Problem
from netd.ipam.drivers import AddressRequest, Granted, IpamDriver, PoolRequest
from netd.remote.plugins import Plugins
from tests.remote.plugin import Plugin

IPAM = "IpamDriver."
SPACES = {"LocalDefaultAddressSpace": "mine", "GlobalDefaultAddressSpace": "all"}


@pytest.fixture
def plugin(tmp_path):
    made = Plugin(None, tmp_path / "book.sock", implements=("IpamDriver",))
    made.answers[IPAM + "GetDefaultAddressSpaces"] = SPACES
    made.answers[IPAM + "RequestPool"] = {"PoolID": "p1", "Pool": "10.5.0.0/24"}
    made.answers[IPAM + "RequestAddress"] = {"Address": "10.5.0.9/24"}
    yield made
    made.close()


@asynccontextmanager
async def driver(plugin):
    plugins = Plugins([str(plugin.path.parent)], 1)
    try:
        found = plugins.addresses(plugin.path.stem)
        await found.check()
        yield found
    finally:
        await plugins.close()


def ask(plugin, question):
    """Run *question*, a function of the driver, and return its result."""

    async def play():
        async with driver(plugin) as found:
            assert isinstance(found, IpamDriver)
            return await question(found)

    return asyncio.run(play())


def test_a_pool_is_asked_for_with_all_that_the_user_said(plugin):
    asked = PoolRequest(
        family=4,
        subnet=IPv4Network("10.5.0.0/24"),
        ip_range=IPv4Network("10.5.0.128/25"),
        options={"site": "north"},
    )
    assert ask(plugin, lambda driver: driver.request_pool(asked)) == Granted("p1", IPv4Network("10.5.0.0/24"))
    assert plugin.calls == [
        ("Plugin.Activate", {}),
        (IPAM + "GetCapabilities", {}),
        (IPAM + "GetDefaultAddressSpaces", {}),
        (
            IPAM + "RequestPool",
            {
                "AddressSpace": "mine",
                "Pool": "10.5.0.0/24",
                "SubPool": "10.5.0.128/25",
                "Options": {"site": "north"},
                "V6": False,
            },
        ),
    ]


def test_a_pool_of_the_drivers_choice_may_come_with_its_gateway(plugin):
    plugin.answers[IPAM + "RequestPool"] = {
        "PoolID": "p6",
        "Pool": "fd00:5::/64",
        "Data": {"com.docker.network.gateway": "fd00:5::7/64"},
    }
    granted = ask(plugin, lambda driver: driver.request_pool(PoolRequest(family=6)))
    assert (granted.subnet, str(granted.gateway)) == (IPv6Network("fd00:5::/64"), "fd00:5::7")
    assert plugin.last(IPAM + "RequestPool")["V6"] is True and plugin.last(IPAM + "RequestPool")["Pool"] == ""


def test_gateways_and_addresses(plugin):
    async def question(driver):
        await driver.request_address("p1", AddressRequest(gateway=True))
        await driver.request_address("p1", AddressRequest(mac="02:42:0a:05:00:09"))
        return await driver.request_address("p1", AddressRequest(address=IPv4Address("10.5.0.9")))

    assert ask(plugin, question) == IPv4Interface("10.5.0.9/24")
    assert plugin.bodies(IPAM + "RequestAddress") == [
        {"PoolID": "p1", "Address": "", "Options": {"RequestAddressType": "com.docker.network.gateway"}},
        {"PoolID": "p1", "Address": "", "Options": {}},
        {"PoolID": "p1", "Address": "10.5.0.9", "Options": {}},
    ]


def test_a_driver_that_needs_macs_and_replays_says_so(plugin):
    plugin.answers[IPAM + "GetCapabilities"] = {"RequiresMACAddress": True, "RequiresRequestReplay": True}

    async def question(driver):
        await driver.request_address("p1", AddressRequest(mac="02:42:0a:05:00:09"))
        return driver.replay

    assert ask(plugin, question) is True
    options = plugin.last(IPAM + "RequestAddress")["Options"]
    assert options == {"com.docker.network.endpoint.macaddress": "02:42:0a:05:00:09"}


def test_a_driver_that_says_nothing_of_itself_needs_nothing(plugin):
    plugin.answers[IPAM + "GetCapabilities"] = (404, "page not found")

    async def question(driver):
        return driver.replay

    assert ask(plugin, question) is False


def test_what_is_released(plugin):
    async def question(driver):
        await driver.release_address("p1", IPv4Address("10.5.0.9"))
        await driver.release_pool("p1")

    ask(plugin, question)
    assert plugin.calls[-2:] == [
        (IPAM + "ReleaseAddress", {"PoolID": "p1", "Address": "10.5.0.9"}),
        (IPAM + "ReleasePool", {"PoolID": "p1"}),
    ]


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("RequestPool", {"Error": "full"}, "remote: full"),
        ("RequestPool", {}, "is not an address"),
        ("RequestPool", {"PoolID": "p", "Pool": "fd00::/64"}, "fd00::/64"),
        ("RequestPool", {"Pool": "10.0.0.0/24"}, "pool '' with 10.0.0.0/24 does not fit"),
        ("RequestAddress", {}, "is not an address"),
        ("RequestAddress", {"Address": "zork"}, "zork"),
        ("RequestAddress", (500, '{"Error":"no more"}'), "remote: no more"),
        ("RequestAddress", (200, "gibberish"), "cannot be decoded"),
    ],
)
def test_what_the_driver_refuses_or_nobody_can_use_is_one_sentence(plugin, method, answer, words):
    plugin.answers[IPAM + method] = answer
    asked = {
        "RequestPool": lambda driver: driver.request_pool(PoolRequest(family=4)),
        "RequestAddress": lambda driver: driver.request_address("p1", AddressRequest()),
    }
    with pytest.raises(Problem, match=words):
        ask(plugin, asked[method])
