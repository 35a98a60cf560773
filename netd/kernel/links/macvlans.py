"""Macvlan links on a link of the host: inside sandboxes, and the host's own with its routes to them.

Inside a sandbox, ours are known by their ifalias.  A link's removal takes the kernel some 20 ms; a sandbox that goes
as a whole is not waited for.
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
    """All of them, with what they stand on.  To be used in the thread of the host."""

    def __init__(self, host: Rtnl, sandboxes: SandboxNamespaces) -> None:
        self._host = host
        self._sandboxes = sandboxes
        self._parents: dict[str, _Parent] = {}
        """What was seen of them last."""
        self._routes: set[HostRoute] = set()

    def put(self, want: Kind) -> None:
        match want:
            case Macvlan():
                self._watch(want.parent)
                put(self._host, self._sandboxes, want)
            case HostLink():
                self._watch(want.parent)
                put_access(self._host, want)
            case HostRoute():
                put_route(self._host, want)
                self._routes.add(want)

    def drop(self, gone: Kind, doomed: Collection[str]) -> None:
        """Remove it; in sandboxes that are *doomed* only what could still be heard is silenced."""
        match gone:
            case Macvlan():
                drop(self._sandboxes, gone, doomed=gone.sandbox in doomed)
            case HostLink():
                self._host.talk(rtnl.delete_link(gone.name))
            case HostRoute():
                drop_route(self._host, gone)
                self._routes.discard(gone)

    def facts(self, links: Mapping[int, rtnl.Link]) -> list[Kind]:
        """Tell of the host's own links and their routes."""
        own = [link for link in links.values() if is_access(link)]
        addresses = self._host.addresses() if own else {}
        found: list[Kind] = []
        for link in own:
            found.append(access_fact(link, addresses.get(link.index, []), links.get))
            found += [HostRoute(link=link.name, destination=to) for to in destinations(self._host, link)]
        return found

    def saw(self, found: Iterable[Fact]) -> None:
        """Remember what is there, to notice when it goes; a parent that was away is watched for further on."""
        self._routes = {one for one in found if isinstance(one, HostRoute)}
        parents = {one.parent for one in found if isinstance(one, Macvlan | HostLink) and one.parent}
        self._parents = {name: self._look(name) for name in parents | self._parents.keys()}

    def stand_on(self, name: str) -> bool:
        return name in self._parents

    def have_lost(self, name: str) -> bool:
        """Whether a parent came, went, or has other addresses than it had; told once."""
        if name not in self._parents or (now := self._look(name)) == self._parents[name]:
            return False
        self._parents[name] = now
        return True

    def _watch(self, parent: str) -> None:
        if parent not in self._parents:
            self._parents[parent] = self._look(parent)

    def _look(self, parent: str) -> _Parent:
        index = index_of(parent)
        return index, tuple(self._host.addresses().get(index, [])) if index else ()

    def access_is(self, known: HostLink, link: rtnl.Link) -> bool:
        """Whether the host's own link is as it is known to be, and its routes are there."""
        found = access_fact(link, self._host.addresses().get(link.index, []), self._host.find)
        routes = {one.destination for one in self._routes if one.link == known.name}
        return found == known and routes <= destinations(self._host, link)


# Inside sandboxes


def is_ours(link: rtnl.Link) -> bool:
    return link.kind == "macvlan" and link.alias == _MARK


def fact(sandbox: str, link: rtnl.Link, addresses: tuple[Interface, ...], host: Find) -> Macvlan:
    """Tell of a link in a sandbox; one that is down is told without its parent."""
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


def put(host: Rtnl, sandboxes: SandboxNamespaces, want: Macvlan) -> None:
    """Make the link complete, or bring the one that is there into shape.  What cannot be finished is undone."""
    path = sandboxes.path(want.sandbox)
    if not netns.exists(path):
        raise KernelRefused(f"sandbox {short(want.sandbox)} has no network namespace at {path}", errno.ENOENT)
    parent = _parent(want.parent)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not netns.run_in_fd(fd, lambda: _is_there(want, parent)):
            host.talk(rtnl.new_macvlan(want.inside, parent, _MODES[want.mode], want.mac, want.mtu, fd))
        netns.run_in_fd(fd, lambda: _dress(want))
    except OSError:
        drop(sandboxes, want)
        raise
    finally:
        os.close(fd)


def drop(sandboxes: SandboxNamespaces, want: Macvlan, *, doomed: bool = False) -> None:
    """Remove the link; in a *doomed* namespace, which takes it along, only silence it."""
    if netns.exists(sandboxes.path(want.sandbox)):
        sandboxes.run_in(want.sandbox, lambda: _remove(want, doomed))


def _parent(name: str) -> int:
    if (found := index_of(name)) is None:
        raise KernelRefused(f"the host has no link {name}, the parent of this macvlan network", errno.ENODEV)
    return found


def _mode(link: rtnl.Link) -> MacvlanMode:
    return MacvlanMode.BRIDGE if link.mode == _MODES[MacvlanMode.BRIDGE] else MacvlanMode.PRIVATE


def _is_there(want: Macvlan, parent: int) -> bool:
    """Tell whether the link is there; one that stands elsewhere is removed."""
    with Rtnl() as inside:
        there = inside.find(want.inside)
        if there is None:
            return False
        if there.kind != "macvlan":
            raise KernelRefused(f"sandbox {short(want.sandbox)} has another interface {want.inside}", errno.EEXIST)
        if (there.peer, _mode(there)) == (parent, want.mode):
            return True
        inside.talk(rtnl.delete_link(want.inside))
        return False


def _dress(want: Macvlan) -> None:
    with Rtnl() as inside:
        inside.talk(rtnl.set_link(want.inside, alias=_MARK))
    pairs.redress(want)


def _remove(want: Macvlan, doomed: bool) -> None:
    with Rtnl() as inside:
        there = inside.find(want.inside)
        if there is not None and there.kind == "macvlan":
            inside.talk(rtnl.set_link(there.index, up=False) if doomed else rtnl.delete_link(want.inside))


# On the host


def is_access(link: rtnl.Link) -> bool:
    return link.kind == "macvlan" and link.alias == _ACCESS_MARK


def access_fact(link: rtnl.Link, addresses: Iterable[Interface], host: Find) -> HostLink:
    """Tell of the host's own link; one that is down is told without its parent."""
    parent = host(link.peer) if link.up else None
    return HostLink(
        name=link.name,
        parent=parent.name if parent else "",
        mac=link.mac,
        addresses=tuple(sorted(addresses, key=lambda one: one.version)),
        mtu=link.mtu,
    )


def put_access(host: Rtnl, want: HostLink) -> None:
    """Make the host's own link, or bring the one that is there into shape.  Its routes outlive that."""
    parent = _parent(want.parent)
    there = host.find(want.name)
    routes = destinations(host, there) if there else set()
    if there is not None and (there.kind, there.peer) != ("macvlan", parent):
        host.talk(rtnl.delete_link(want.name))
        there = None
    if there is None:
        host.talk(rtnl.new_macvlan(want.name, parent, _MODES[MacvlanMode.BRIDGE], want.mac, want.mtu))
    index = index_of(want.name) or 0
    has_ipv6 = any(one.version == 6 for one in want.addresses)
    sysctl.write_optional(f"net/ipv6/conf/{want.name}/accept_ra", "0")
    sysctl.write_optional(f"net/ipv6/conf/{want.name}/disable_ipv6", str(int(not has_ipv6)))
    sysctl.write(f"net/ipv4/conf/{want.name}/arp_notify", "1")
    present = host.addresses().get(index, [])
    host.talk(
        *(rtnl.drop_address(index, one) for one in present if one not in want.addresses),
        rtnl.set_link(index, alias=_ACCESS_MARK, mtu=want.mtu, mac=want.mac),
        *(rtnl.add_address(index, one) for one in want.addresses),
        rtnl.set_link(index, up=True),
    )
    for to in routes:
        put_route(host, HostRoute(link=want.name, destination=to))


def destinations(host: Rtnl, link: rtnl.Link) -> set[Subnet]:
    """Return where the routes lead that we set by a link; those from an address that is not the right one are none."""
    routes = [one for one in host.routes(rtnl.MAIN_TABLE) if one.link == link.index and one.static]
    addresses = host.addresses() if routes else {}
    return {one.destination for one in routes if one.source == _source(addresses, link, one.destination)}


def put_route(host: Rtnl, want: HostRoute) -> None:
    link = host.find(want.link)
    if link is None:
        raise KernelRefused(f"link {want.link} does not exist", errno.ENODEV)
    host.talk(rtnl.put_host_route(link.index, want.destination, _source(host.addresses(), link, want.destination)))


def _source(addresses: Addresses, link: rtnl.Link, to: Subnet) -> Address | None:
    """Return the parent's address, where the link has none of its own: the kernel would take that of any link."""
    if to.version == 6 or addresses.get(link.index):
        return None
    found = [one for one in addresses.get(link.peer, []) if one.version == 4]
    found.sort(key=lambda one: to.network_address not in one.network)
    return found[0].ip if found else None


def drop_route(host: Rtnl, want: HostRoute) -> None:
    if (index := index_of(want.link)) is not None:
        host.talk(rtnl.drop_route(index, want.destination, None))
