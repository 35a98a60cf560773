"""Plugins that refuse, respond with invalid data, hang or die, and kills of netd during their calls."""

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.installation import wait_until
from tests.remote.conftest import TIMEOUT
from tests.remote.plugin import joined
from tests.remote.test_network_driver import ND, RUN, STOP, run

AGAIN = [ND + "Leave", ND + "DeleteEndpoint"]


def refused(place, name="web", networks="n", status=500):
    """Assert that a container's start fails without leftovers, and return the message."""
    before = place.state_of_all()
    words = place.refusal(status, "POST", "/netd/v1/sandboxes", place.request(name, networks))
    assert place.state_of_all() == before
    return words


@pytest.mark.parametrize("broken", RUN[:3])
@pytest.mark.parametrize(
    "answer", [{"Err": "no more of that"}, (500, '{"Err":"no more of that"}'), (500, "no more of that\n")]
)
def test_a_driver_that_refuses_is_quoted_and_everything_is_taken_back(place, plugin, broken, answer):
    place.far()
    plugin.answers[broken] = answer
    seen = len(plugin.calls)
    assert "remote: no more of that" in refused(place)
    assert plugin.methods(seen)[-2:] == AGAIN
    assert not [link for link in place.machine.links() if link.startswith(("rx", "rp"))]
    del plugin.answers[broken]
    assert run(place, plugin, "web").address("n")


def test_a_port_that_cannot_be_programmed_says_whose(place, plugin):
    place.far()
    plugin.answers[RUN[2]] = {"Err": "port 80 is mine"}
    words = refused(place)
    assert words.startswith("driver failed programming external connectivity on endpoint web (")
    assert words.endswith("): remote: port 80 is mine")


def test_a_failing_connect_leaves_the_container_as_it_was(place, plugin):
    place.far("zz")
    place.far("aa", "10.2.0.0/24")
    box = run(place, plugin, "web", "zz")
    before = place.state_of_all()
    second = []
    plugin.answers[RUN[2]] = lambda body: {"Err": "not this one"} if second else {}
    second.append(True)
    body = {"Container": "web", "EndpointConfig": {}}
    assert "not this one" in place.refusal(500, "POST", "/networks/aa/connect", body)
    assert place.state_of_all() == before and box.gateway() == "10.1.0.1"
    assert plugin.bodies(RUN[2])[-1]["NetworkID"] == place.get("/networks/zz")["Id"], (
        "external connectivity is programmed again"
    )
    second.clear()
    place.connect("aa", "web")
    assert box.gateway() == "10.2.0.1"


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        (RUN[0], (200, "{not json"), "cannot be decoded"),
        (RUN[0], (200, "[]"), "cannot be decoded"),
        (RUN[0], {"Interface": {"MacAddress": "zork"}}, "zork"),
        (RUN[0], {"Interface": {"AddressIPv6": "zork"}}, "zork"),
        (RUN[0], {"Interface": {"Address": "10.1.0.2/24"}}, "Cannot be modified with 10.1.0.2/24"),
        (RUN[1], {}, "InterfaceName"),
        (RUN[1], {"InterfaceName": {"SrcName": "a/b"}}, "a/b"),
        (RUN[1], {"InterfaceName": {"SrcName": "nosuchlink", "DstPrefix": "eth"}}, "nosuchlink"),
        (RUN[1], lambda body: joined(body, Gateway="zork"), "zork"),
        (RUN[1], lambda body: joined(body, StaticRoutes=[{"Destination": "1.2.3.4/33"}]), "1.2.3.4/33"),
        (RUN[1], lambda body: joined(body, StaticRoutes=[{"Destination": "1.2.3.0/24"}]), "next hop"),
        (RUN[1], lambda body: joined(body, Gateway="192.0.2.1"), "route"),
        (RUN[1], lambda body: joined(body, StaticRoutes=[{"Destination": "10.1.0.0/24", "RouteType": 1}] * 2), "exist"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused_in_one_sentence(place, plugin, method, answer, words):
    place.far()
    plugin.answers[method] = answer
    assert words in refused(place)
    assert plugin.methods()[-2:] == AGAIN


def test_a_response_that_arrives_in_two_parts_is_read_whole(place, plugin):
    plugin.halved.update(RUN)
    place.far()
    run(place, plugin, "web")


@pytest.mark.parametrize(
    ("capabilities", "status", "words"),
    [
        ({"Scope": "global"}, 403, "scope global"),
        ({"Scope": "zork"}, 500, "zork"),
        ({}, 500, "scope"),
        ({"Err": "no"}, 500, "remote: no"),
    ],
)
def test_a_driver_that_makes_no_networks_of_this_host_is_refused(place, plugin, capabilities, status, words):
    plugin.answers[ND + "GetCapabilities"] = capabilities
    body = {"Name": "n", "Driver": place.driver}
    assert words in place.refusal(status, "POST", "/networks/create", body)
    assert "n" not in place.networks()


def test_a_plugin_that_is_something_else_is_refused(place):
    place.plugin("volumes", implements=("VolumeDriver",))
    assert "volumes" in place.refusal(403, "POST", "/networks/create", {"Name": "n", "Driver": "volumes"})


@pytest.mark.parametrize("name", ["nobody", "../far", "a/b", "."])
def test_a_driver_that_nobody_has_is_not_found(place, name):
    words = place.refusal(404, "POST", "/networks/create", {"Name": "n", "Driver": name})
    assert words.startswith(f'plugin "{name}" not found: ') and "the drivers are bridge, " in words


def test_a_network_that_the_driver_refuses_is_not_there(place, plugin):
    plugin.answers[ND + "CreateNetwork"] = {"Err": "never"}
    before = place.networks()
    words = place.refusal(500, "POST", "/networks/create", {"Name": "n", "Driver": place.driver})
    assert words == "remote: never" and place.networks() == before
    assert plugin.methods()[-1] == ND + "DeleteNetwork"
    del plugin.answers[ND + "CreateNetwork"]
    place.far()


def test_a_driver_that_says_nothing_is_waited_for_so_long_and_nobody_else_is_held_up(place, plugin):
    plugin.held[ND + "CreateNetwork"] = threading.Event()
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place.refusal, 500, "POST", "/networks/create", {"Name": "n", "Driver": place.driver})
        plugin.await_call(ND + "CreateNetwork")
        place.network("other")
        place.sandbox("web", "other").remove()
        assert not waiting.done()
        words = waiting.result()
    assert time.monotonic() - started < TIMEOUT + 5
    for part in (place.driver, str(plugin.path), "NetworkDriver.CreateNetwork", f"no response in {TIMEOUT} s"):
        assert part in words
    assert "n" not in place.networks()


def test_a_dead_driver_holds_up_no_removal(site):
    plugin = site.plugin()
    site.far()
    box = run(site, plugin, "web")
    plugin.stop()
    body = site.request("second", "n")
    words = site.refusal(500, "POST", "/netd/v1/sandboxes", body)
    assert str(plugin.path) in words and "far" in words and "CreateEndpoint" in words
    box.remove()
    site.ask(204, "DELETE", "/networks/n")
    assert site.get("/netd/v1/sandboxes") == [] and "n" not in site.networks()
    site.kill()
    plugin.start()
    seen = len(plugin.calls)
    site.start()
    plugin.await_call(ND + "DeleteNetwork")
    told = plugin.methods(seen)
    assert told[0] == "Plugin.Activate" and told[-1] == ND + "DeleteNetwork", (
        "the plugin receives the calls that it missed"
    )
    [made] = plugin.bodies(RUN[0])
    assert made["EndpointID"] in {body["EndpointID"] for body in plugin.bodies(AGAIN[1])}


def test_a_driver_that_was_restarted_serves_on_and_is_not_activated_again(place, plugin):
    place.far()
    plugin.stop()
    plugin.start()
    run(place, plugin, "web")
    assert plugin.methods().count("Plugin.Activate") == 1


def test_networks_and_containers_outlive_a_killed_netd(site):
    plugin = site.plugin()
    site.far()
    box = run(site, plugin, "web", PortBindings={"80/tcp": [{"HostPort": "80"}]})
    before = site.state_of_all()
    created = len(plugin.bodies(ND + "CreateNetwork"))
    site.kill()
    seen = len(plugin.calls)
    site.start()
    assert site.state_of_all() == before and plugin.methods(seen) == []
    assert "repairing" not in site.log().split("listening")[-2], "the actual state equals the desired state"
    run(site, plugin, "again")
    box.remove()
    assert len(plugin.bodies(ND + "CreateNetwork")) == created
    assert plugin.methods(seen)[0] == "Plugin.Activate" and plugin.methods(seen)[-3:] == STOP


def test_what_a_killed_netd_had_begun_is_taken_back(site):
    plugin = site.plugin()
    site.far()
    plugin.held[RUN[1]] = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(site.call, "POST", "/netd/v1/sandboxes", site.request("web", "n"))
        plugin.await_call(RUN[1])
        site.kill()
        assert waiting.exception() is not None
    plugin.held.pop(RUN[1]).set()
    site.start()
    plugin.await_call(AGAIN[1])
    [made] = plugin.bodies(RUN[0])
    assert plugin.last(AGAIN[0])["EndpointID"] == plugin.last(AGAIN[1])["EndpointID"] == made["EndpointID"]
    run(site, plugin, "web")


def test_endpoints_of_a_sandbox_whose_namespace_is_gone_are_taken_back(site):
    plugin = site.plugin()
    site.far()
    box = run(site, plugin, "web")
    site.kill()
    subprocess.run(["umount", "-l", box.view["Netns"]], check=True)
    site.start()
    plugin.await_call(AGAIN[1])
    assert site.get("/netd/v1/sandboxes") == []
    assert site.sandbox("next", "n").address("n") in ("10.1.0.2", "10.1.0.3")


def test_a_link_that_somebody_broke_inside_is_put_right(site):
    plugin = site.plugin()
    site.far()
    box = run(site, plugin, "web")
    site.kill()
    box.node.ip("addr flush dev eth0")
    box.node.ip("link set eth0 down")
    site.start()
    wait_until(lambda: "10.1.0.2/24" in box.node.addresses() and box.gateway() == "10.1.0.1")
