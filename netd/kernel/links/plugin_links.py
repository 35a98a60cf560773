"""Links that plugins made on the host, moved into sandboxes and back.

Owns the mark (the ifalias) by which such a link is known while it is inside; it holds the name on the host.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from netd.common.addresses import Interface
from netd.common.errors import KernelRefused
from netd.common.ids import short
from netd.facts import PluginLink, StaticRoute
from netd.kernel import sysctl
from netd.kernel.namespaces import netns
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.rtnl_socket import Rtnl

_MARK = "netd-moved"
_OWN_MAC = "own-mac"


def is_moved(link: rtnl.Link) -> bool:
    return link.alias.startswith(f"{_MARK} ")


def fact(
    sandbox: str, link: rtnl.Link, addresses: tuple[Interface, ...], routes: Iterable[rtnl.RtnlRoute]
) -> PluginLink:
    """Tell of a moved link; one that is down is told with a name that nobody wants."""
    _, source, *own = link.alias.split()
    return PluginLink(
        source=source,
        sandbox=sandbox,
        inside=link.name if link.up else "",
        mac="" if own else link.mac,
        addresses=addresses,
        routes=tuple(sorted(_statics(link.index, routes), key=in_order)),
    )


def put(host: Rtnl, sandboxes: SandboxNamespaces, want: PluginLink) -> None:
    """Bring the link into the sandbox, or the one that is there into shape.  What cannot be finished is undone."""
    path = sandboxes.path(want.sandbox)
    if not netns.exists(path):
        raise KernelRefused(f"sandbox {short(want.sandbox)} has no network namespace at {path}", errno.ENOENT)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if netns.run_in_fd(fd, lambda: _find(want)) is None:
            _bring(host, fd, want)
        netns.run_in_fd(fd, lambda: _dress(want))
    except OSError as problem:
        drop(sandboxes, want)
        raise OSError(
            problem.errno, f"failed to add interface {want.source} to sandbox as {want.inside}: {problem.strerror}"
        ) from problem
    finally:
        os.close(fd)


def drop(sandboxes: SandboxNamespaces, want: PluginLink) -> None:
    """Give the link back to the host under its former name; without the namespace it is gone already."""
    if not netns.exists(sandboxes.path(want.sandbox)):
        return
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sandboxes.run_in(want.sandbox, lambda: _send_back(want, fd))
    finally:
        os.close(fd)


def _bring(host: Rtnl, fd: int, want: PluginLink) -> None:
    link = host.find(want.source)
    if link is None:
        raise OSError(errno.ENODEV, "the driver said it made this link, and there is none of that name on the host")
    mark = f"{_MARK} {want.source}" + ("" if want.mac else f" {_OWN_MAC}")
    host.talk(rtnl.set_link(link.index, up=False, alias=mark))
    try:
        host.talk(rtnl.move_link(link.index, fd, want.inside))
    except OSError:
        host.talk(rtnl.set_link(want.source, alias="", tolerate=(errno.ENODEV,)))
        raise


def _find(want: PluginLink) -> rtnl.Link | None:
    with Rtnl() as inside:
        return next((link for link in inside.links() if is_moved(link) and link.alias.split()[1] == want.source), None)


def _dress(want: PluginLink) -> None:
    """Set the link up, in the sandbox's namespace."""
    link = _find(want)
    if link is None:
        raise OSError(errno.ENODEV, "it is not there any more")
    with Rtnl() as inside:
        if link.name != want.inside:
            inside.talk(rtnl.set_link(link.index, up=False))
            inside.talk(rtnl.set_link(link.index, name=want.inside))
        has_ipv6 = any(one.version == 6 for one in want.addresses)
        sysctl.write_optional(f"net/ipv6/conf/{want.inside}/accept_ra", "0")
        sysctl.write_optional(f"net/ipv6/conf/{want.inside}/disable_ipv6", str(int(not has_ipv6)))
        sysctl.write(f"net/ipv4/conf/{want.inside}/arp_notify", "1")
        there = inside.addresses().get(link.index, [])
        inside.talk(
            *(rtnl.drop_address(link.index, one) for one in there if one not in want.addresses),
            *([rtnl.set_link(link.index, mac=want.mac)] if want.mac else []),
            *(rtnl.add_address(link.index, one) for one in want.addresses),
            rtnl.set_link(link.index, up=True),
        )
        _set_routes(inside, link.index, want)


def _set_routes(inside: Rtnl, link: int, want: PluginLink) -> None:
    """Neighbours that a route leads to come before the routes by way of them."""
    have = set(_statics(link, inside.routes(rtnl.MAIN_TABLE)))
    inside.talk(
        *(rtnl.drop_route(link, one.destination, one.via) for one in have - set(want.routes)),
        *(rtnl.add_route(link, one.destination, one.via) for one in want.routes if one not in have),
    )


def _send_back(want: PluginLink, host: int) -> None:
    link = _find(want)
    if link is None:
        return
    with Rtnl() as inside:
        inside.talk(rtnl.set_link(link.index, up=False, alias=""))
        inside.talk(rtnl.move_link(link.index, host, want.source))


def _statics(link: int, routes: Iterable[rtnl.RtnlRoute]) -> list[StaticRoute]:
    """Return the routes by a link that somebody set, but for the sandbox's default route, which is told by itself."""
    return [
        StaticRoute(route.destination, route.gateway)
        for route in routes
        if route.link == link and route.static and not (route.destination.prefixlen == 0 and route.gateway)
    ]


def in_order(route: StaticRoute) -> tuple[bool, int, bytes, int]:
    destination = route.destination
    packed = destination.network_address.packed
    return (route.via is not None, destination.version, packed, destination.prefixlen)
