"""A plugin that is both network driver and IPAM driver: calls in the order of Docker's engine."""

import pytest

from tests.remote.conftest import NUMBERS
from tests.remote.test_network_driver import ND, RUN, STOP, run

IPAM = "IpamDriver."
POOL = {"PoolID": "p1", "Pool": "10.5.0.0/24"}


@pytest.fixture
def plugin(place):
    made = place.plugin(f"both{next(NUMBERS)}", implements=("NetworkDriver", "IpamDriver"))
    made.answers[IPAM + "GetDefaultAddressSpaces"] = {"LocalDefaultAddressSpace": "mine"}
    made.answers[IPAM + "RequestPool"] = POOL
    made.answers[IPAM + "RequestAddress"] = lambda body: {
        "Address": "10.5.0.1/24" if body["Options"].get("RequestAddressType") else "10.5.0.77/24"
    }
    return made


def asked(place):
    return {"Driver": place.driver, "IPAM": {"Driver": place.driver, "Options": {"site": "north"}}}


def test_the_order_of_calls_of_both_roles(place, plugin):
    made = place.network("n", **asked(place))
    assert made["IPAM"]["Driver"] == place.driver
    assert made["IPAM"]["Config"] == [{"Subnet": "10.5.0.0/24", "Gateway": "10.5.0.1"}]
    tail = [IPAM + "GetDefaultAddressSpaces", IPAM + "RequestPool", IPAM + "RequestAddress", ND + "CreateNetwork"]
    assert plugin.methods()[-4:] == tail
    assert plugin.last(IPAM + "RequestPool")["Options"] == {"site": "north"}
    seen = len(plugin.calls)
    box = run(place, plugin, "web")
    assert plugin.methods(seen) == [IPAM + "RequestAddress", *RUN] and box.address("n") == "10.5.0.77"
    seen = len(plugin.calls)
    box.remove()
    plugin.await_call(IPAM + "ReleaseAddress")
    assert plugin.methods(seen) == [*STOP, IPAM + "ReleaseAddress"]
    seen = len(plugin.calls)
    place.ask(204, "DELETE", "/networks/n")
    assert plugin.methods(seen) == [ND + "DeleteNetwork", IPAM + "ReleaseAddress", IPAM + "ReleasePool"]


def test_what_was_asked_for_goes_back_when_the_network_cannot_be_made(place, plugin):
    plugin.answers[ND + "CreateNetwork"] = {"Err": "never"}
    assert place.refusal(500, "POST", "/networks/create", {"Name": "n", **asked(place)}) == "remote: never"
    assert plugin.methods()[-2:] == [IPAM + "ReleaseAddress", IPAM + "ReleasePool"]
    assert "n" not in place.networks()


def test_the_address_goes_back_when_the_container_cannot_join(place, plugin):
    place.network("n", **asked(place))
    plugin.answers[ND + "Join"] = {"Err": "no room"}
    assert "no room" in place.refusal(500, "POST", "/netd/v1/sandboxes", place.request("web", "n"))
    assert plugin.methods()[-1] == IPAM + "ReleaseAddress"
    assert plugin.last(IPAM + "ReleaseAddress") == {"PoolID": "p1", "Address": "10.5.0.77"}


def test_bridges_take_addresses_from_a_plugin_too(place, plugin):
    place.network("n", IPAM={"Driver": place.driver})
    box = place.sandbox("web", "n")
    assert box.address("n") == "10.5.0.77" and box.gateway() == "10.5.0.1"
    assert not [method for method in plugin.methods() if method.startswith(ND)]


def test_a_driver_that_keeps_nothing_is_told_again_after_a_restart(site):
    plugin = site.plugin("both", implements=("IpamDriver",))
    plugin.answers[IPAM + "GetDefaultAddressSpaces"] = {"LocalDefaultAddressSpace": "mine"}
    plugin.answers[IPAM + "GetCapabilities"] = {"RequiresRequestReplay": True}
    plugin.answers[IPAM + "RequestPool"] = POOL
    plugin.answers[IPAM + "RequestAddress"] = lambda body: {
        "Address": "10.5.0.1/24" if body["Options"].get("RequestAddressType") else "10.5.0.77/24"
    }
    site.network("n", IPAM={"Driver": "both"})
    site.sandbox("web", "n")
    site.kill()
    seen = len(plugin.calls)
    site.start()
    plugin.await_call(IPAM + "RequestAddress", 4)
    told = plugin.calls[seen:]
    assert [body.get("Pool") for method, body in told if method == IPAM + "RequestPool"] == ["10.5.0.0/24"]
    addresses = [body["Address"] for method, body in told if method == IPAM + "RequestAddress"]
    assert addresses == ["10.5.0.1", "10.5.0.77"]
