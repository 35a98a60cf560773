"""Creation, configuration and retirement of bridges on the host.

Owns the ifalias by which netd's bridges are recognized.  A foreign bridge is used with its own settings and must not be
deleted.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterable

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.facts import Bridge
from netd.kernel import sysctl
from netd.kernel.links import bridge_routes, bridge_settings, egress_barrier, link_reaper
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

_OWN_NAME = re.compile(r"nd-[0-9a-f]{12}\Z")
MARK = "netd"
"""The ifalias of bridges that netd created."""
_INITIAL_MTU = 1280
"""The MTU of a new bridge, before its own is set.  Until then the MTU follows the smallest of the bridge's ports.

It must differ from the bridge's own MTU: the kernel ignores a request that does not change the MTU.

With less than 1280 the link would have no IPv6 sysctls until the MTU is changed.
"""


def is_own(link: rtnl.Link) -> bool:
    return link.kind == "bridge" and (link.alias == MARK or _is_unfinished(link))


def _is_unfinished(link: rtnl.Link) -> bool:
    """Return whether a killed netd created the link without configuring it: the last request sets the mark."""
    return not link.up and not link.alias and _OWN_NAME.match(link.name) is not None


def put(host: Rtnl, fact: Bridge, previous: Bridge | None = None, forwards: Collection[Family] = ()) -> None:
    """Create the bridge, or configure the existing bridge and restore what belongs to it.

    *forwards* are the families whose packets the firewall lets the bridge forward.
    """
    created = _create(host, fact) if fact.owned else None
    try:
        _configure(host, fact, previous, forwards, created)
        if not created:
            _restore(host, fact)
    except BaseException:
        if created:
            host.talk(rtnl.delete_link(fact.name))
        raise


def _configure(
    host: Rtnl, fact: Bridge, previous: Bridge | None, forwards: Collection[Family], created: rtnl.Link | None
) -> None:
    link = created or host.find(fact.name)
    if link is None:
        raise KernelRefused(f"bridge {fact.name} does not exist", errno.ENODEV)
    if not fact.owned and link.kind != "bridge":
        raise KernelRefused(f"existing interface {fact.name} is not a bridge", errno.EOPNOTSUPP)
    addresses = [rtnl.add_address(link.index, address) for address in fact.addresses]
    if not fact.owned:
        sysctl.write(f"net/ipv4/conf/{fact.name}/route_localnet", str(int(fact.localnet)))
        host.talk(*addresses, rtnl.set_link(link.index, up=True), *_loopback6(link.index, fact))
        return
    if link.mtu < _INITIAL_MTU:
        # Another program lowered the MTU, and the kernel removed IPv6 from the link.  With the MTU it generates a
        # link-local address that is tentative, which is replaced below.
        tentative = rtnl.delete_address(link.index, bridge_routes.link_local_address(link.mac))
        host.talk(rtnl.set_link(link.index, mtu=fact.mtu), tentative)
        link = host.find(link.index) or link
    settings: list[Request] = []
    if created:
        settings = bridge_settings.configure_new(link, fact, forwards)
    else:
        bridge_settings.write_sysctls(link, fact, forwards)
    if bridge_settings.has_ipv6(fact):
        addresses.append(rtnl.add_link_local(link.index, bridge_routes.link_local_address(fact.mac)))
    former = previous.addresses if previous else ()
    old = [rtnl.delete_address(link.index, address) for address in former if address not in fact.addresses]
    up = rtnl.set_link(link.index, up=True, mtu=fact.mtu, alias=MARK, mac=None if link.mac == fact.mac else fact.mac)
    barrier = tc.attach(link.index, egress_barrier.PROGRAM, tc.EGRESS)
    restored = bridge_settings.restored_attributes(link)
    host.talk(*settings, *old, *barrier, *addresses, *restored, up, *_loopback6(link.index, fact))


def _restore(host: Rtnl, fact: Bridge) -> None:
    """Add the routes of the bridge that another program has deleted."""
    link = host.find(fact.name)
    if link is not None:
        host.talk(*bridge_routes.restored(link, fact, host.routes(link=link.index)))


def faults(link: rtnl.Link, fact: Bridge, routes: Iterable[rtnl.RtnlRoute], forwards: Collection[Family]) -> list[str]:
    """Return what the bridge lacks of what follows from *fact*; of a foreign bridge only routes."""
    found = [bridge_routes.describe(key) for key in bridge_routes.missing(link, fact, routes)]
    if not fact.owned:
        return found
    found += [
        f"{path.replace('/', '.')}={present}"
        for path, present, _ in bridge_settings.wrong_sysctls(link, fact, forwards)
    ]
    found += bridge_settings.wrong_attributes(link)
    return found if link.mac == fact.mac else [*found, "MAC"]


def _loopback6(index: int, fact: Bridge) -> list[Request]:
    """Return the request that adds or deletes the route to ::1, which IPv6 needs in place of ``route_localnet``."""
    if not bridge_settings.has_ipv6(fact):
        return []
    return [rtnl.add_loopback6_route(index) if fact.localnet else rtnl.delete_loopback6_route(index)]


def _create(host: Rtnl, fact: Bridge) -> rtnl.Link | None:
    """Create the bridge and return it; None if it exists."""
    try:
        new = rtnl.new_bridge(fact.name, _INITIAL_MTU, fact.mac)
        _, found = host.exchange(new, rtnl.find_link(fact.name))
    except OSError as problem:
        if problem.errno != errno.EEXIST:
            raise
        link = host.find(fact.name)
        if link and link_reaper.free_name(host, fact.name):
            return _create(host, fact)
        if link and not is_own(link):
            message = f"a link named {fact.name} exists already and is not netd's"
            raise KernelRefused(message, errno.EEXIST) from problem
        return None
    return rtnl.read_link(found[0])


def has_unique_name(fact: Bridge) -> bool:
    """Return whether netd chose the name, by an id that no other network gets."""
    return _OWN_NAME.match(fact.name) is not None


def delete(host: Rtnl, fact: Bridge, *, at_once: bool = False) -> int | None:
    """Retire the bridge and return its index; None if it does not exist.

    With *at_once* the links in the group are deleted next: the bridge stays up, and keeps its name.

    From a foreign bridge, only remove the addresses, route and sysctl that netd set, and return None.
    """
    index = index_of(fact.name)
    if index is None:
        return None
    if not fact.owned:
        sysctl.write(f"net/ipv4/conf/{fact.name}/route_localnet", "0")
        addresses = (rtnl.delete_address(index, address) for address in host.own_addresses(index))
        host.talk(*addresses, rtnl.delete_loopback6_route(index))
        return None
    # The host also answers for the addresses of a link that is down.
    own = [rtnl.delete_address(index, address) for address in fact.addresses]
    if at_once:
        host.talk(*link_reaper.set_aside(index), *own)
    else:
        host.talk(*link_reaper.retire(index, rtnl.RETIRED_BRIDGES), *own, *link_reaper.rename(index))
    return index
