"""Past events, their filters and their order are Docker's."""

from __future__ import annotations

import time

import pytest

from netd.common.events import event, matches
from netd.common.filters import Filters


def happened(type_="container", action="die", identifier="c0ffee" + "0" * 58, **attributes):
    return event(type_, action, identifier, attributes)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("image", "repo/busybox:1.36", True),
        ("image", "repo/busybox", True),
        ("image", "busybox", False),
        ("container", "c0ffee", True),
        ("container", "web", True),
        ("container", "web-1", True),
        ("container", "eb", False),
        ("network", "123456", False),
        ("daemon", "x", False),
    ],
)
def test_filters_match_as_in_docker(key, value, expected):
    container = happened(name="web-1", image="repo/busybox:1.36")
    assert matches(container, Filters({key: (value,)})) == expected


def test_networks_are_found_by_the_start_of_id_or_name_and_images_with_a_port_keep_it():
    network = happened("network", "connect", "12345678" * 8, name="front", container="c0ffee")
    assert all(matches(network, Filters({"network": (text,)})) for text in ("12345678123", "front", "fro"))
    assert not matches(network, Filters({"container": ("c0ffee",)}))
    pulled = happened("image", "pull", "localhost:5000/a", name="localhost:5000/a")
    assert matches(pulled, Filters({"image": ("localhost:5000/a",)}))


def test_until_alone_gives_past_events_and_the_network_is_left_before_the_exit_is_told(api, run):
    network = api.create_network("en")["Id"]
    try:
        made = run("sleep", "1000", host={"NetworkMode": "en"})
        api.stop(made, timeout=0)
        now = f"{time.time() + 0.001:.6f}"  # the stop has returned: all its events are past
        seen = list(api.events(until=now, decode=True))
        actions = [
            entry["Action"]
            for entry in seen
            if made in (entry["Actor"]["ID"], entry["Actor"]["Attributes"].get("container"))
        ]
        assert actions == ["create", "connect", "start", "kill", "kill", "disconnect", "stop", "die"]
        api.start(made)
        api.restart(made, timeout=0)
        again = f"{time.time() + 0.001:.6f}"
        restarted = [
            entry["Action"]
            for entry in api.events(since=now, until=again, decode=True)
            if made in (entry["Actor"]["ID"], entry["Actor"]["Attributes"].get("container"))
        ]
        assert restarted == [
            "connect", "start", "kill", "kill", "disconnect", "stop", "die", "connect", "start", "restart",
        ]  # fmt: skip
        found = api.events(until=now, filters={"network": network[:12]}, decode=True)
        assert [entry["Action"] for entry in found] == ["create", "connect", "disconnect"]
    finally:
        api.remove_container(made, force=True)
        api.remove_network(network)
