"""Macvlan links on a link of the host: those of sandboxes, and the host's own link with its routes to them.

Owns the ifaliases by which netd's macvlan links are recognized.  The kernel takes some 20 ms to delete a link, so links
of a sandbox that is deleted as a whole are not deleted one by one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

from netd.common.addresses import Address, Interface, Subnet
from netd.common.errors import KernelRefused
from netd.common.ids import short
from netd.facts import Fact, HostLink, HostRoute, Macvlan, MacvlanMode
from netd.kernel import sysctl
from netd.kernel.links import pairs
from netd.kernel.namespaces import netns
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

_MARK = "netd-macvlan"
_ACCESS_MARK = "netd macvlan access"
_MODES = {MacvlanMode.PRIVATE: 1, MacvlanMode.BRIDGE: 4}
Find: TypeAlias = Callable[[int], rtnl.Link | None]
Addresses: TypeAlias = Mapping[int, list[Interface]]
_Parent: TypeAlias = tuple[int | None, tuple[Interface, ...]]
Kind: TypeAlias = Macvlan | HostLink | HostRoute


class Macvlans:
    """All macvlan links and the state of their parents.  Use it in the thread of the host."""

    def __init__(self, host: Rtnl, sandboxes: SandboxNamespaces) -> None:
        self._host = host
        self._sandboxes = sandboxes
        self._parents: dict[str, _Parent] = {}
        """Index and addresses of the parents as last read."""
        self._routes: set[HostRoute] = set()

    def put(self, fact: Kind) -> None:
        match fact:
            case Macvlan():
                self._watch(fact.parent)
                put(self._host, self._sandboxes, fact)
            case HostLink():
                self._watch(fact.parent)
                put_access(self._host, fact)
            case HostRoute():
                put_route(self._host, fact)
                self._routes.add(fact)

    def delete(self, fact: Kind, deleted_sandboxes: Collection[str]) -> None:
        """Delete the link or route; a link in a sandbox that is deleted too is only set down."""
        match fact:
            case Macvlan():
                delete(self._sandboxes, fact, with_sandbox=fact.sandbox in deleted_sandboxes)
            case HostLink():
                self._host.talk(rtnl.delete_link(fact.name))
            case HostRoute():
                delete_route(self._host, fact)
                self._routes.discard(fact)

    def facts(self, links: Mapping[int, rtnl.Link]) -> list[Kind]:
        """Return the facts of the host's own links and their routes."""
        own = [link for link in links.values() if is_access(link)]
        addresses = self._host.addresses() if own else {}
        found: list[Kind] = []
        for link in own:
            found.append(access_fact(link, addresses.get(link.index, []), links.get))
            found += [HostRoute(link=link.name, destination=subnet) for subnet in destinations(self._host, link)]
        return found

    def remember(self, found: Iterable[Fact]) -> None:
        """Record routes and parents, to detect later changes; parents that do not exist now stay recorded."""
        self._routes = {fact for fact in found if isinstance(fact, HostRoute)}
        parents = {fact.parent for fact in found if isinstance(fact, Macvlan | HostLink) and fact.parent}
        self._parents = {name: self._read_parent(name) for name in parents | self._parents.keys()}

    def is_parent(self, name: str) -> bool:
        return name in self._parents

    def parent_changed(self, name: str) -> bool:
        """Return whether a parent was created, deleted or got other addresses since the last call."""
        if name not in self._parents or (now := self._read_parent(name)) == self._parents[name]:
            return False
        self._parents[name] = now
        return True

    def _watch(self, parent: str) -> None:
        if parent not in self._parents:
            self._parents[parent] = self._read_parent(parent)

    def _read_parent(self, parent: str) -> _Parent:
        index = index_of(parent)
        return index, tuple(self._host.addresses().get(index, [])) if index else ()

    def access_is(self, known: HostLink, link: rtnl.Link) -> bool:
        """Return whether the host's own link is as in *known* and has its routes."""
        found = access_fact(link, self._host.addresses().get(link.index, []), self._host.find)
        routes = {route.destination for route in self._routes if route.link == known.name}
        return found == known and routes <= destinations(self._host, link)


# Inside sandboxes


def is_own(link: rtnl.Link) -> bool:
    return link.kind == "macvlan" and link.alias == _MARK


def fact(sandbox: str, link: rtnl.Link, addresses: tuple[Interface, ...], host: Find) -> Macvlan:
    """Return the fact of a link in a sandbox; the parent is "" if the link is down."""
    parent = host(link.peer) if link.up else None
    return Macvlan(
        parent=parent.name if parent else "",
        mode=_mode(link),
        sandbox=sandbox,
        inside=link.name,
        mac=link.mac,
        addresses=addresses,
        mtu=link.mtu,
    )


def put(host: Rtnl, sandboxes: SandboxNamespaces, fact: Macvlan) -> None:
    """Create the link, or configure the existing link.  On failure delete it."""
    path = sandboxes.path(fact.sandbox)
    if not netns.exists(path):
        raise KernelRefused(f"sandbox {short(fact.sandbox)} has no network namespace at {path}", errno.ENOENT)
    parent = _parent(fact.parent)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not netns.run_in_fd(fd, lambda: _exists(fact, parent)):
            host.talk(rtnl.new_macvlan(fact.inside, parent, _MODES[fact.mode], fact.mac, fact.mtu, fd))
        netns.run_in_fd(fd, lambda: _configure(fact))
    except OSError:
        delete(sandboxes, fact)
        raise
    finally:
        os.close(fd)


def delete(sandboxes: SandboxNamespaces, fact: Macvlan, *, with_sandbox: bool = False) -> None:
    """Delete the link; *with_sandbox*, only set it down, because the namespace is deleted next."""
    if netns.exists(sandboxes.path(fact.sandbox)):
        sandboxes.run_in(fact.sandbox, lambda: _delete(fact, with_sandbox))


def _parent(name: str) -> int:
    if (found := index_of(name)) is None:
        raise KernelRefused(f"the host has no link {name}, the parent of this macvlan network", errno.ENODEV)
    return found


def _mode(link: rtnl.Link) -> MacvlanMode:
    return MacvlanMode.BRIDGE if link.mode == _MODES[MacvlanMode.BRIDGE] else MacvlanMode.PRIVATE


def _exists(fact: Macvlan, parent: int) -> bool:
    """Return whether the link exists; delete it if it has another parent or mode."""
    with Rtnl() as inside:
        link = inside.find(fact.inside)
        if link is None:
            return False
        if link.kind != "macvlan":
            raise KernelRefused(f"sandbox {short(fact.sandbox)} has another interface {fact.inside}", errno.EEXIST)
        if (link.peer, _mode(link)) == (parent, fact.mode):
            return True
        inside.talk(rtnl.delete_link(fact.inside))
        return False


def _configure(fact: Macvlan) -> None:
    with Rtnl() as inside:
        inside.talk(rtnl.set_link(fact.inside, alias=_MARK))
    pairs.reconfigure_inside(fact)


def _delete(fact: Macvlan, with_sandbox: bool) -> None:
    with Rtnl() as inside:
        link = inside.find(fact.inside)
        if link is not None and link.kind == "macvlan":
            inside.talk(rtnl.set_link(link.index, up=False) if with_sandbox else rtnl.delete_link(fact.inside))


# On the host


def is_access(link: rtnl.Link) -> bool:
    return link.kind == "macvlan" and link.alias == _ACCESS_MARK


def access_fact(link: rtnl.Link, addresses: Iterable[Interface], host: Find) -> HostLink:
    """Return the fact of the host's own link; the parent is "" if the link is down."""
    parent = host(link.peer) if link.up else None
    return HostLink(
        name=link.name,
        parent=parent.name if parent else "",
        mac=link.mac,
        addresses=tuple(sorted(addresses, key=lambda address: address.version)),
        mtu=link.mtu,
    )


def put_access(host: Rtnl, fact: HostLink) -> None:
    """Create the host's own link, or configure the existing link.  Its routes are kept."""
    parent = _parent(fact.parent)
    link = host.find(fact.name)
    routes = destinations(host, link) if link else set()
    if link is not None and (link.kind, link.peer) != ("macvlan", parent):
        host.talk(rtnl.delete_link(fact.name))
        link = None
    if link is None:
        host.talk(rtnl.new_macvlan(fact.name, parent, _MODES[MacvlanMode.BRIDGE], fact.mac, fact.mtu))
    index = index_of(fact.name) or 0
    has_ipv6 = any(address.version == 6 for address in fact.addresses)
    sysctl.write_optional(f"net/ipv6/conf/{fact.name}/accept_ra", "0")
    sysctl.write_optional(f"net/ipv6/conf/{fact.name}/disable_ipv6", str(int(not has_ipv6)))
    sysctl.write(f"net/ipv4/conf/{fact.name}/arp_notify", "1")
    present = host.addresses().get(index, [])
    host.talk(
        *(rtnl.delete_address(index, address) for address in present if address not in fact.addresses),
        rtnl.set_link(index, alias=_ACCESS_MARK, mtu=fact.mtu, mac=fact.mac),
        *(rtnl.add_address(index, address) for address in fact.addresses),
        rtnl.set_link(index, up=True),
    )
    for subnet in routes:
        put_route(host, HostRoute(link=fact.name, destination=subnet))


def destinations(host: Rtnl, link: rtnl.Link) -> set[Subnet]:
    """Return the destinations of netd's routes by a link, except routes with a wrong preferred source."""
    routes = [route for route in host.routes(rtnl.MAIN_TABLE) if route.link == link.index and route.static]
    addresses = host.addresses() if routes else {}
    return {route.destination for route in routes if route.source == _source(addresses, link, route.destination)}


def put_route(host: Rtnl, fact: HostRoute) -> None:
    link = host.find(fact.link)
    if link is None:
        raise KernelRefused(f"link {fact.link} does not exist", errno.ENODEV)
    host.talk(rtnl.put_host_route(link.index, fact.destination, _source(host.addresses(), link, fact.destination)))


def _source(addresses: Addresses, link: rtnl.Link, to: Subnet) -> Address | None:
    """Return the parent's address if the link has none: the kernel would choose an address of any link."""
    if to.version == 6 or addresses.get(link.index):
        return None
    found = [address for address in addresses.get(link.peer, []) if address.version == 4]
    found.sort(key=lambda address: to.network_address not in address.network)
    return found[0].ip if found else None


def delete_route(host: Rtnl, fact: HostRoute) -> None:
    if (index := index_of(fact.link)) is not None:
        host.talk(rtnl.delete_route(index, fact.destination, None))
