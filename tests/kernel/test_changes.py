"""Changes by others to netd's kernel objects are reported; netd's own changes are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from netd.facts import plan
from netd.host_protocol import Change
from netd.kernel.netlink import messages, notifications
from netd.portmap.rules import RulesetChange
from tests.kernel.conftest import BRIDGE_FILTER, Site, port, set_bridge_filter
from tests.lab import PATIENCE


def noticed(site: Site, damage: Callable[[], object], wanted: Change) -> None:
    """Do the damage and wait for the report of the change; fail if there is none."""

    async def scenario() -> None:
        changes = site.host.changes()

        async def listen() -> None:
            async for change in changes:
                if change == wanted:
                    return

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            await asyncio.to_thread(damage)
        await changes.aclose()

    site.do(scenario())


@pytest.fixture
def busy(site: Site) -> Site:
    web = site.container("web", site.network("front", "172.18.0.1/16", "fd00:18::1/64"), 2)
    site.converge()
    site.publish(port(8080, web, 80))
    return site


@pytest.mark.parametrize(
    ("damage", "change"),
    [
        ("link del nd-front", Change("link", "nd-front")),
        ("link set nd-front down", Change("link", "nd-front")),
        ("link set ndpwebront down", Change("link", "ndpwebront")),
        ("link del ndpwebront", Change("link", "ndpwebront")),
        ("link set ndpwebront nomaster", Change("link", "ndpwebront")),
        ("addr flush dev nd-front", Change("address", "nd-front")),
        ("addr del fd00:18::1/64 dev nd-front", Change("address", "nd-front")),
    ],
)
def test_damage_to_a_link_is_noticed(busy: Site, damage: str, change: Change) -> None:
    noticed(busy, lambda: busy.machine.ip(damage), change)


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "delete table inet netd",
        "insert rule inet netd forward accept",
        "flush map inet netd ports",
        "delete element inet netd bridges { nd-front }",
    ],
)
def test_damage_to_the_firewall_is_noticed(busy: Site, damage: str) -> None:
    noticed(busy, lambda: busy.machine.nft(damage), Change("firewall"))


@pytest.mark.parametrize("switch", ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"])
def test_forwarding_switched_off_is_noticed(busy: Site, switch: str) -> None:
    noticed(busy, lambda: busy.machine.sysctl(switch, "0"), Change("firewall"))


def test_br_netfilter_that_is_switched_later_is_noticed(backend: str, site: Site) -> None:
    if not BRIDGE_FILTER.exists():
        pytest.skip("this kernel has no br_netfilter")
    set_bridge_filter(site, False)
    web = site.container("web", site.network("front", "172.18.0.1/16", "fd00:18::1/64"), 2)
    site.converge()
    site.publish(port(8080, web, 80, address="::"))
    for on in (True, False):
        noticed(site, lambda on=on: set_bridge_filter(site, on), Change("firewall"))
        site.do(site.host.reset_firewall(site.ruleset()))


@pytest.mark.parametrize("damage", ["qdisc del dev nd-front clsact", "filter del dev nd-front egress"])
def test_a_barrier_that_was_taken_away_is_noticed_and_put_back(busy: Site, damage: str) -> None:
    noticed(busy, lambda: busy.machine.command("tc", *damage.split()), Change("link", "nd-front"))
    assert busy.have() != busy.wanted
    busy.converge()


@pytest.mark.parametrize(
    "damage", ["qdisc del dev {} clsact", "filter del dev {} ingress", "filter del dev {} ingress pref 65535"]
)
def test_a_guard_that_was_taken_away_is_noticed_and_put_back(busy: Site, damage: str) -> None:
    words = damage.format("ndpwebront").split()
    noticed(busy, lambda: busy.machine.command("tc", *words), Change("link", "ndpwebront"))
    assert busy.have() != busy.wanted
    busy.converge()


def test_a_restarted_daemon_notices_too_once_it_has_looked(busy: Site) -> None:
    busy.reopen()
    assert busy.have() == busy.wanted
    noticed(busy, lambda: busy.machine.ip("link del nd-front"), Change("link", "nd-front"))


def test_what_we_do_ourselves_and_what_others_do_elsewhere_is_no_news(busy: Site) -> None:
    pal = busy.container("pal", busy.network("back", "172.19.0.1/16"), 2)

    async def scenario() -> list[Change]:
        heard: list[Change] = []

        async def listen() -> None:
            async for change in busy.host.changes():
                heard.append(change)
                if change == Change("link", pal.host):
                    return

        async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            await busy.host.apply(plan(busy.wanted, await busy.host.observe()))
            await busy.host.update_firewall(busy.ruleset())
            await busy.host.reset_firewall(busy.ruleset())
            busy.want(replace(pal, mtu=1400))
            await busy.host.apply(plan(busy.wanted, await busy.host.observe()))
            await asyncio.to_thread(busy.machine.ip, "link add foreign type bridge")
            await asyncio.to_thread(busy.machine.nft, "add table inet other")
            await asyncio.to_thread(busy.machine.ip, f"link del {pal.host}")
        return heard

    # The last change proves that the listener received all earlier notifications.
    assert busy.do(scenario()) == [Change("link", pal.host)]


def test_events_that_came_too_fast_are_told_as_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_BUFFER", 1)
    site.reopen()

    def flood() -> None:
        script = "".join(f"link add f{n} type bridge\nlink del f{n}\n" for n in range(20))
        site.machine.command("ip", "-batch", "-", stdin=script)

    site.do(asyncio.sleep(0))
    flood()  # The listener does not read meanwhile.
    noticed(site, lambda: None, Change("lost"))


def test_listening_ends_when_the_host_is_closed(site: Site) -> None:
    async def scenario() -> list[Change]:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            heard = tasks.create_task(collect())
            await asyncio.sleep(0)
            await site.host.close()
        return heard.result()

    async def collect() -> list[Change]:
        return [change async for change in site.host.changes()]

    assert site.do(scenario()) == []
    site.host = site.open()


def test_the_cost_of_a_network_does_not_grow_with_their_number(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The netlink replies of a creation, with everything that it causes; one read of the surroundings precedes."""
    replies: list[int] = []
    ask = messages.Netlink._ask
    monkeypatch.setattr(messages.Netlink, "_ask", lambda *args: _counted(ask(*args), replies))

    async def create(number: int) -> int:
        replies.clear()
        assert await site.host.mtu() in (0, 1500)
        await site.host.used_subnets()
        assert not await site.host.has_link(f"nd-n{number}")
        before = site.ruleset()
        bridge = site.network(f"n{number}", f"10.9.{number}.1/24", f"fd00:9:{number}::1/64")
        await site.host.apply(plan({bridge.key: bridge}, {}))
        await site.host.change_firewall(RulesetChange.between(before, site.ruleset()))
        await site.host.routes()
        async with asyncio.timeout(PATIENCE):
            changes = site.host.changes()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.15)
        return sum(replies)

    async def scenario() -> list[int]:
        return [await create(number) for number in range(1, 7)]

    monkeypatch.setattr(site.host, "_next_look", float("inf"))  # Looks at settings read all bridges.
    first, second, *_, last = site.do(scenario())
    assert first > second == last


def _counted(result: tuple[list[messages.Message], bool], replies: list[int]) -> tuple[list[messages.Message], bool]:
    replies.append(len(result[0]))
    return result
