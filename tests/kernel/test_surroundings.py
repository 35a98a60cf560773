"""Addresses, routes and MTUs of the host that are not netd's: current at each call, at the cost of the changes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from ipaddress import ip_network
from typing import Any, TypeVar

from tests.kernel.conftest import OUTSIDE, Site

T = TypeVar("T")


async def while_busy(site: Site, call: Coroutine[Any, Any, T]) -> T:
    """Return the result of *call* while the thread that changes the host does not take other work."""
    release = threading.Event()
    busy = asyncio.ensure_future(site.host._threads.run(release.wait))
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            return await call
    finally:
        release.set()
        await busy


def test_what_is_known_needs_no_other_thread(site: Site) -> None:
    site.machine.command("ip", "route", "add", "default", "via", OUTSIDE)
    known = site.do(site.host.used_subnets())
    mtu = site.do(site.host.mtu())
    site.network("front", "172.18.0.1/16")
    site.do(site.host.apply(site.steps()))
    assert mtu == 1500
    assert site.do(while_busy(site, site.host.used_subnets())) == known
    assert site.do(while_busy(site, site.host.mtu())) == mtu


def test_a_change_by_another_program_is_seen_at_once(site: Site) -> None:
    site.machine.command("ip", "route", "add", "default", "via", OUTSIDE)
    added = ip_network("10.11.0.0/16")
    for present in (True, False):
        assert site.do(site.host.mtu()) == 1500
        assert (added in site.do(site.host.used_subnets())) is not present
        site.machine.command("ip", "route", "add" if present else "del", str(added), "via", OUTSIDE)
        assert (added in site.do(site.host.used_subnets())) is present
        assert any(route.destination == added for route in site.do(site.host.routes())) is present
    link = site.machine.command("ip", "-o", "route", "show", "default").split()[4]
    site.machine.command("ip", "link", "set", link, "mtu", "1400")
    assert site.do(site.host.mtu()) == 1400
