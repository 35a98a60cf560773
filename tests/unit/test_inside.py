"""Repair leaves alone what a container's own programs change inside it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netd.engine.reconcile.inside import left_alone
from netd.facts import Bridge, DefaultRoute, Fact, Pair, plan, state

BRIDGE = Bridge(name="nd-a", addresses=(ip_interface("10.1.0.1/24"),), mtu=1500, localnet=True)
PAIR = Pair(
    host="ndp1",
    bridge="nd-a",
    alias="web.a",
    sandbox="web",
    inside="eth0",
    mac="02:42:0a:01:00:02",
    addresses=(ip_interface("10.1.0.2/24"),),
    mtu=1500,
)
ROUTE = DefaultRoute(sandbox="web", gateway=ip_address("10.1.0.1"))
ALL = (BRIDGE, PAIR, ROUTE)


def repaired(*found: Fact, unsettled: tuple[str, ...] = ()) -> list[Fact]:
    return [step.fact for step in left_alone(plan(state(ALL), state(found)), unsettled)]


@pytest.mark.parametrize(
    "found",
    [
        (BRIDGE, PAIR),
        (BRIDGE, PAIR, replace(ROUTE, gateway=ip_address("10.1.0.9"))),
        (BRIDGE, replace(PAIR, addresses=(), antispoof=False), ROUTE),
        (BRIDGE, replace(PAIR, mac="02:00:00:00:00:09", antispoof=False)),
    ],
)
def test_changes_inside_stay(found: tuple[Fact, ...]) -> None:
    assert repaired(*found) == []
    assert repaired(*found, unsettled=("web",)) != []


def test_the_inside_is_restored_with_the_link() -> None:
    assert repaired(BRIDGE) == [PAIR, ROUTE]
    assert repaired(BRIDGE, replace(PAIR, bridge="")) == [PAIR, ROUTE]
    assert repaired(replace(BRIDGE, faults=("route 10.1.0.0/24",)), PAIR) == [BRIDGE]


@pytest.mark.parametrize("changed", [{"antispoof": False}, {"isolated": True}, {"mtu": 1000}, {"faults": ("state",)}])
def test_the_host_side_is_always_restored(changed: dict[str, object]) -> None:
    assert repaired(BRIDGE, replace(PAIR, **changed), ROUTE) == [PAIR]
