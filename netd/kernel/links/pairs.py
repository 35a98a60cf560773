"""Creation, configuration and retirement of veth pairs between a bridge of the host and a sandbox.

Owns both ends; must not change links in a sandbox that are not an end of netd's pairs or macvlans.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import socket
from collections.abc import Sequence
from ipaddress import IPv6Interface
from typing import TypeAlias

from netd.common.addresses import Interface
from netd.common.errors import KernelRefused
from netd.common.mac import link_local
from netd.facts import Macvlan, Pair
from netd.kernel import sysctl
from netd.kernel.delivery.direct import DirectDelivery
from netd.kernel.links import antispoof, bridge_settings, link_reaper
from netd.kernel.namespaces import netns
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.link_reading import DISABLE_IPV6, conf_value
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of, name_of

_LONGEST_NAME = 127
End: TypeAlias = Pair | Macvlan
"""Links whose end inside a sandbox is configured in the same way."""


_indices = itertools.count((1 << 24) + secrets.randbelow(1 << 29))
"""Indices of host sides.  Those that the kernel chooses may be used again, for instance by links that another program
moves to the host; an element of direct delivery that has outlived its port must not lead to another link."""


def put(
    host: Rtnl,
    sandboxes: SandboxNamespaces,
    delivery: DirectDelivery,
    fact: Pair,
    scope: int,
    previous: Pair | None = None,
) -> None:
    """Create the pair: a port of its bridge, MAC and addresses inside, both ends up.

    An existing pair of this name is configured, or replaced if its peer is another link.  *scope* is that of direct
    delivery, 0 for none.
    """
    path = sandboxes.path(fact.sandbox)
    if not netns.exists(path):
        raise KernelRefused(f"sandbox {fact.sandbox[:12]} has no network namespace at {path}", errno.ENOENT)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _create_on_free_port(host, sandboxes, delivery, fact, scope, fd)
    except OSError as problem:
        if problem.errno != errno.EEXIST:
            raise
        if not _configured(host, delivery, fact, scope, previous, fd):
            delete(host, sandboxes, delivery, previous or fact)
            _create(host, sandboxes, delivery, fact, scope, fd)
    finally:
        os.close(fd)


def _create_on_free_port(
    host: Rtnl, sandboxes: SandboxNamespaces, delivery: DirectDelivery, fact: Pair, scope: int, fd: int
) -> None:
    """Create the pair; if the bridge has no free port, delete the retired links first."""
    try:
        _create(host, sandboxes, delivery, fact, scope, fd)
    except OSError as problem:
        if problem.errno != errno.EXFULL:
            raise
        link_reaper.delete_all(host)
        _create(host, sandboxes, delivery, fact, scope, fd)


def _create(
    host: Rtnl, sandboxes: SandboxNamespaces, delivery: DirectDelivery, fact: Pair, scope: int, fd: int
) -> None:
    port, peer = _created(host, fact, fd)
    try:
        host.talk(
            rtnl.without_ipv6(fact.host),
            rtnl.set_port(fact.host, isolated=fact.isolated),
            *_names(fact),
            *_programs(port, delivery, fact, scope, created=True),
            rtnl.set_link(port, up=True),
        )
        if _has_ipv6(fact) or fact.sysctls:
            netns.run_in_fd(fd, lambda: configure_inside(fact))
        else:
            _configure_new(sandboxes, fact, peer, fd)
        delivery.add(fact.host, scope, fact.mac, created=True)
    except BaseException:
        delete(host, sandboxes, delivery, fact)
        raise


def _created(host: Rtnl, fact: Pair, fd: int) -> tuple[int, int]:
    """Create the links and return the indices of the host side and of its peer."""
    while True:
        index = next(_indices)
        pair = rtnl.new_pair(fact.host, fact.inside, fd, _bridge(fact), fact.mac, fact.mtu, index)
        try:
            _, found = host.exchange(pair, rtnl.find_link(fact.host))
        except OSError as problem:
            if problem.errno != errno.EEXIST or name_of(index) in ("", fact.host):
                raise
            continue
        return rtnl.read_ends(found[0])


def _configured(host: Rtnl, delivery: DirectDelivery, fact: Pair, scope: int, previous: Pair | None, fd: int) -> bool:
    """Configure the existing pair of this name; return false if its peer is another link, or it was just deleted."""
    port = host.find(fact.host)
    inside = netns.run_in_fd(fd, lambda: _find(fact.inside))
    if port is None and inside is None:
        return False
    if port is None:
        raise KernelRefused(f"sandbox {fact.sandbox[:12]} has another interface {fact.inside}", errno.EEXIST)
    if not (inside and (inside.peer, inside.index) == (port.index, port.peer)):
        return False
    old = previous.alias if previous and previous.alias != fact.alias else ""
    stale = previous is not None and previous.antispoof and (previous.mac != fact.mac or not fact.antispoof)
    host.talk(
        *([rtnl.delete_forwarding(port.index, previous.mac)] if previous and stale and port.master else []),
        *([rtnl.delete_alternative_name(port.index, _truncated(old))] if old else []),
        *_names(fact),
        rtnl.set_link(port.index, mtu=fact.mtu, master=_bridge(fact)),
        rtnl.set_port(fact.host, isolated=fact.isolated),
        *bridge_settings.restored_port(port, hairpin=True),
        *_programs(port.index, delivery, fact, scope, created=False),
        rtnl.set_link(port.index, up=True),
    )
    netns.run_in_fd(fd, lambda: reconfigure_inside(fact))
    delivery.add(fact.host, scope, fact.mac, created=False)
    return True


def delete(
    host: Rtnl, sandboxes: SandboxNamespaces, delivery: DirectDelivery, fact: Pair, *, inside_too: bool = True
) -> None:
    """Retire both ends; *inside_too* is false if the whole namespace is deleted next."""
    delivery.remove(fact.host)
    ends = host.ends(fact.host)
    if ends is None:
        return
    index, peer = ends
    names = [rtnl.delete_alternative_name(index, _truncated(fact.alias))] if fact.alias else []
    host.talk(*link_reaper.retire(index), *names, *link_reaper.rename(index))
    if inside_too and fact.sandbox and netns.exists(sandboxes.path(fact.sandbox)):
        _retire_inside(sandboxes.rtnl(fact.sandbox), peer, index, fact.addresses)


def _bridge(fact: Pair) -> int:
    index = index_of(fact.bridge)
    if index is None:
        raise KernelRefused(f"bridge {fact.bridge} does not exist", errno.ENODEV)
    return index


def _truncated(alias: str) -> str:
    return alias.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _names(fact: Pair) -> list[Request]:
    """Return requests for the alternative name, and for the ifalias, which may equal another link's name or ifalias."""
    alternative = [rtnl.add_alternative_name(fact.host, _truncated(fact.alias))] if fact.alias else []
    return [*alternative, rtnl.set_link(fact.host, alias=_truncated(fact.alias))]


def _programs(port: int, delivery: DirectDelivery, fact: Pair, scope: int, *, created: bool) -> list[Request]:
    """Return the requests for the antispoof program and, after it, direct delivery, which needs it."""
    if not fact.antispoof:
        return [tc.detach(port)]
    guard = tc.attach(port, antispoof.program(fact.mac, fact.addresses))
    # A port with the program has one MAC: its frames are not sent to other ports, however long it was silent.
    entry = rtnl.static_forwarding(port, fact.mac)
    return [*guard, entry, *delivery.requests(port, scope, created=created)]


def _find(name: str) -> rtnl.Link | None:
    with Rtnl() as inside:
        return inside.find(name)


def configure_inside(fact: End) -> None:
    """Configure a new end, in the sandbox's namespace."""
    # Gratuitous ARP updates the neighbours' caches at once; the bridge sends it to every port.
    quiet = isinstance(fact, Pair) and not fact.announce
    arp_notify = f"net/ipv4/conf/{fact.inside}/arp_notify"
    sysctl.write(arp_notify, str(int(not quiet)))
    _set_ipv6(fact)
    sysctl.write_all(fact.sysctls, fact.inside)
    index = socket.if_nametoindex(fact.inside)
    addresses = [rtnl.add_address(index, address) for address in fact.addresses]
    if _has_ipv6(fact):
        # The link-local address that the kernel generates would be tentative for two seconds, and programs that bind
        # it fail meanwhile.
        addresses.append(rtnl.add_link_local(index, IPv6Interface((link_local(fact.mac), 64))))
    with Rtnl() as inside:
        inside.talk(*addresses, rtnl.set_link(index, up=True))
    if quiet:
        sysctl.write(arp_notify, "1")


def _configure_new(sandboxes: SandboxNamespaces, fact: Pair, index: int, fd: int) -> None:
    """Do what ``configure_inside`` does for a new end without IPv6 and sysctls, by netlink only: without a thread."""
    found, *_ = sandboxes.rtnl(fact.sandbox).exchange(
        rtnl.find_link(index),
        rtnl.set_arp_notify(index, on=fact.announce),
        *(rtnl.add_address(index, address) for address in fact.addresses),
        rtnl.set_link(index, up=True),
        *(() if fact.announce else (rtnl.set_arp_notify(index, on=True),)),
    )
    if conf_value(rtnl.read_link(found[0]).conf6, DISABLE_IPV6) == 0:
        # The container's own settings, or those of an older netd, enable IPv6 on new links.
        netns.run_in_fd(fd, lambda: _set_ipv6(fact))


def _has_ipv6(fact: End) -> bool:
    return any(address.version == 6 for address in fact.addresses)


def _set_ipv6(fact: End) -> None:
    """Enable IPv6 only with an IPv6 address: else the link would solicit routers and accept routes of any router."""
    settings = f"net/ipv6/conf/{fact.inside}"
    sysctl.write_optional(f"{settings}/disable_ipv6", str(int(not _has_ipv6(fact))))
    if _has_ipv6(fact):
        sysctl.write(f"{settings}/accept_ra", "0")
        sysctl.write(f"{settings}/ndisc_notify", "1")
        # The antispoof program passes the link-local address that is derived from the MAC (EUI-64), and no other.
        sysctl.write(f"{settings}/addr_gen_mode", "0")


def reconfigure_inside(fact: End) -> None:
    """Configure an existing end, in the sandbox's namespace: remove other addresses, set MTU and MAC."""
    index = socket.if_nametoindex(fact.inside)
    with Rtnl() as inside:
        present = inside.addresses().get(index, [])
        foreign = [rtnl.delete_address(index, address) for address in present if address not in fact.addresses]
        inside.talk(*foreign, rtnl.set_link(index, mtu=fact.mtu, mac=fact.mac))
    configure_inside(fact)


def _retire_inside(inside: Rtnl, index: int, peer: int, addresses: Sequence[Interface]) -> None:
    # The end may have been moved to another namespace, and another link have its index here.
    if inside.ends(index) == (index, peer):
        own = [rtnl.delete_address(index, address) for address in addresses]
        inside.talk(*link_reaper.retire(index), *own, *link_reaper.rename(index))
