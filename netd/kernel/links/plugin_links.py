"""Links that plugins created on the host, moved into sandboxes and back.

Owns the ifalias of such a link while it is in a sandbox; it contains the link's name on the host.  Must not delete
these links, which belong to the plugins.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from ipaddress import IPv6Interface

from netd.common.addresses import Interface
from netd.common.errors import KernelRefused
from netd.common.ids import short
from netd.common.mac import link_local
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
    """Return the fact of a moved link; its name inside is "" if the link is down, so that the plan repairs it."""
    _, source, *own = link.alias.split()
    return PluginLink(
        source=source,
        sandbox=sandbox,
        inside=link.name if link.up else "",
        mac="" if own else link.mac,
        addresses=addresses,
        routes=tuple(sorted(_static_routes(link.index, routes), key=in_order)),
    )


def put(host: Rtnl, sandboxes: SandboxNamespaces, wanted: PluginLink) -> None:
    """Move the link into the sandbox and configure it.  On failure move it back."""
    path = sandboxes.path(wanted.sandbox)
    if not netns.exists(path):
        raise KernelRefused(f"sandbox {short(wanted.sandbox)} has no network namespace at {path}", errno.ENOENT)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if netns.run_in_fd(fd, lambda: _find(wanted)) is None:
            _move_in(host, fd, wanted)
        netns.run_in_fd(fd, lambda: _configure(wanted))
    except OSError as problem:
        delete(sandboxes, wanted)
        raise OSError(
            problem.errno, f"failed to add interface {wanted.source} to sandbox as {wanted.inside}: {problem.strerror}"
        ) from problem
    finally:
        os.close(fd)


def delete(sandboxes: SandboxNamespaces, wanted: PluginLink) -> None:
    """Move the link back to the host under its former name; without the namespace the link no longer exists."""
    if not netns.exists(sandboxes.path(wanted.sandbox)):
        return
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sandboxes.run_in(wanted.sandbox, lambda: _move_out(wanted, fd))
    finally:
        os.close(fd)


def _move_in(host: Rtnl, fd: int, wanted: PluginLink) -> None:
    link = host.find(wanted.source)
    if link is None:
        raise OSError(errno.ENODEV, "the driver reported this link, and the host has no link of that name")
    mark = f"{_MARK} {wanted.source}" + ("" if wanted.mac else f" {_OWN_MAC}")
    host.talk(rtnl.set_link(link.index, up=False, alias=mark))
    try:
        host.talk(rtnl.move_link(link.index, fd, wanted.inside))
    except OSError:
        host.talk(rtnl.set_link(wanted.source, alias="", tolerate=(errno.ENODEV,)))
        raise


def _find(wanted: PluginLink) -> rtnl.Link | None:
    with Rtnl() as inside:
        return next(
            (link for link in inside.links() if is_moved(link) and link.alias.split()[1] == wanted.source), None
        )


def _configure(wanted: PluginLink) -> None:
    """Configure the link, in the sandbox's namespace."""
    link = _find(wanted)
    if link is None:
        raise OSError(errno.ENODEV, "the link is no longer in the sandbox")
    with Rtnl() as inside:
        if link.name != wanted.inside:
            inside.talk(rtnl.set_link(link.index, up=False))
            inside.talk(rtnl.set_link(link.index, name=wanted.inside))
        has_ipv6 = any(address.version == 6 for address in wanted.addresses)
        sysctl.write_optional(f"net/ipv6/conf/{wanted.inside}/accept_ra", "0")
        sysctl.write_optional(f"net/ipv6/conf/{wanted.inside}/disable_ipv6", str(int(not has_ipv6)))
        sysctl.write(f"net/ipv4/conf/{wanted.inside}/arp_notify", "1")
        present = inside.addresses().get(link.index, [])
        inside.talk(
            *(rtnl.delete_address(link.index, address) for address in present if address not in wanted.addresses),
            *([rtnl.set_link(link.index, mac=wanted.mac)] if wanted.mac else []),
            *(rtnl.add_address(link.index, address) for address in wanted.addresses),
            *([rtnl.add_link_local(link.index, _link_local(wanted.mac or link.mac))] if has_ipv6 else []),
            rtnl.set_link(link.index, up=True),
        )
        _set_routes(inside, link.index, wanted)


def _link_local(mac: str) -> Interface:
    return IPv6Interface((link_local(mac), 64))


def _set_routes(inside: Rtnl, link: int, wanted: PluginLink) -> None:
    """Set the link's static routes: on-link routes first, because routes by a gateway need a route to the gateway."""
    have = set(_static_routes(link, inside.routes(rtnl.MAIN_TABLE)))
    inside.talk(
        *(rtnl.delete_route(link, route.destination, route.via) for route in have - set(wanted.routes)),
        *(rtnl.add_route(link, route.destination, route.via) for route in wanted.routes if route not in have),
    )


def _move_out(wanted: PluginLink, host: int) -> None:
    link = _find(wanted)
    if link is None:
        return
    with Rtnl() as inside:
        inside.talk(rtnl.set_link(link.index, up=False, alias=""))
        inside.talk(rtnl.move_link(link.index, host, wanted.source))


def _static_routes(link: int, routes: Iterable[rtnl.RtnlRoute]) -> list[StaticRoute]:
    """Return the static routes by a link, except the sandbox's default route, which is a fact of its own."""
    return [
        StaticRoute(route.destination, route.gateway)
        for route in routes
        if route.link == link and route.static and not (route.destination.prefixlen == 0 and route.gateway)
    ]


def in_order(route: StaticRoute) -> tuple[bool, int, bytes, int]:
    destination = route.destination
    packed = destination.network_address.packed
    return (route.via is not None, destination.version, packed, destination.prefixlen)
