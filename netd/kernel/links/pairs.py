"""Veth pairs between a bridge of the host and a sandbox: made, mended, retired."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TypeAlias

from netd.common.addresses import Interface
from netd.common.errors import KernelRefused
from netd.facts import Macvlan, Pair
from netd.kernel import sysctl
from netd.kernel.links import antispoof, link_reaper
from netd.kernel.namespaces import netns
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

_LONGEST_NAME = 127
End: TypeAlias = Pair | Macvlan
"""What is inside a sandbox is set up alike."""


def put(host: Rtnl, sandboxes: SandboxNamespaces, fact: Pair, was: Pair | None = None) -> None:
    """Make the pair complete: port of its bridge, address and MAC inside, both ends up.

    A pair of this name that is there is mended, or replaced when its inside is another.
    """
    path = sandboxes.path(fact.sandbox)
    if not netns.exists(path):
        raise KernelRefused(f"sandbox {fact.sandbox[:12]} has no network namespace at {path}", errno.ENOENT)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _make_with_room(host, sandboxes, fact, fd)
    except OSError as problem:
        if problem.errno != errno.EEXIST:
            raise
        if not _mended(host, fact, was, fd):
            drop(host, sandboxes, was or fact)
            _make(host, sandboxes, fact, fd)
    finally:
        os.close(fd)


def _make_with_room(host: Rtnl, sandboxes: SandboxNamespaces, fact: Pair, fd: int) -> None:
    """Make the pair; on a bridge that has no port left, when the retired ones have gone."""
    try:
        _make(host, sandboxes, fact, fd)
    except OSError as problem:
        if problem.errno != errno.EXFULL:
            raise
        link_reaper.delete_all(host)
        _make(host, sandboxes, fact, fd)


def _make(host: Rtnl, sandboxes: SandboxNamespaces, fact: Pair, fd: int) -> None:
    host.talk(rtnl.new_pair(fact.host, fact.inside, fd, _bridge(fact), fact.mac, fact.mtu))
    try:
        host.talk(
            rtnl.without_ipv6(fact.host),
            rtnl.set_port(fact.host, isolated=fact.isolated),
            *_names(fact),
            *_guard(fact),
            rtnl.set_link(fact.host, up=True),
        )
        netns.run_in_fd(fd, lambda: dress(fact))
    except BaseException:
        drop(host, sandboxes, fact)
        raise


def _mended(host: Rtnl, fact: Pair, was: Pair | None, fd: int) -> bool:
    """Bring the pair that has this name into shape; false when another inside belongs to it."""
    there = host.find(fact.host)
    inside = netns.run_in_fd(fd, lambda: _find(fact.inside))
    if there is None:
        raise KernelRefused(f"sandbox {fact.sandbox[:12]} has another interface {fact.inside}", errno.EEXIST)
    if not (inside and (inside.peer, inside.index) == (there.index, there.peer)):
        return False
    old = was.alias if was and was.alias != fact.alias else ""
    host.talk(
        *([rtnl.drop_alternative_name(there.index, _cut(old))] if old else []),
        *_names(fact),
        rtnl.set_link(there.index, mtu=fact.mtu, master=_bridge(fact)),
        rtnl.set_port(fact.host, isolated=fact.isolated),
        *_guard(fact),
        rtnl.set_link(there.index, up=True),
    )
    netns.run_in_fd(fd, lambda: redress(fact))
    return True


def drop(host: Rtnl, sandboxes: SandboxNamespaces, fact: Pair, *, inside_too: bool = True) -> None:
    """Retire both ends; *inside_too* is false when the whole namespace is about to go."""
    ends = host.ends(fact.host)
    if ends is None:
        return
    index, peer = ends
    names = [rtnl.drop_alternative_name(index, _cut(fact.alias))] if fact.alias else []
    host.talk(*link_reaper.down(index), *names, *link_reaper.rename(index))
    if inside_too and fact.sandbox and netns.exists(sandboxes.path(fact.sandbox)):
        sandboxes.run_in(fact.sandbox, lambda: _retire_inside(peer, index, fact.addresses))


def _bridge(fact: Pair) -> int:
    index = index_of(fact.bridge)
    if index is None:
        raise KernelRefused(f"bridge {fact.bridge} does not exist", errno.ENODEV)
    return index


def _cut(alias: str) -> str:
    return alias.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _names(fact: Pair) -> list[Request]:
    """The alternative name is for people; the ifalias says the same, also where another link has that name."""
    alternative = [rtnl.add_alternative_name(fact.host, _cut(fact.alias))] if fact.alias else []
    return [*alternative, rtnl.set_link(fact.host, alias=_cut(fact.alias))]


def _guard(fact: Pair) -> tuple[Request, ...]:
    port = socket.if_nametoindex(fact.host)
    if not fact.antispoof:
        return (tc.detach(port),)
    return tc.attach(port, antispoof.program(fact.mac, fact.addresses))


def _find(name: str) -> rtnl.Link | None:
    with Rtnl() as inside:
        return inside.find(name)


def dress(fact: End) -> None:
    """Set up the inside end, in the sandbox's namespace."""
    # Neighbours hear at once who has the address now.
    sysctl.write(f"net/ipv4/conf/{fact.inside}/arp_notify", "1")
    _set_ipv6(fact)
    sysctl.write_all(fact.sysctls, fact.inside)
    index = socket.if_nametoindex(fact.inside)
    address = [rtnl.add_address(index, one) for one in fact.addresses]
    with Rtnl() as inside:
        inside.talk(*address, rtnl.set_link(index, up=True))


def _set_ipv6(fact: End) -> None:
    """Have IPv6 where there is an address of it: else it would chatter, and take routes from whoever offers them."""
    settings = f"net/ipv6/conf/{fact.inside}"
    has = any(one.version == 6 for one in fact.addresses)
    sysctl.write_optional(f"{settings}/disable_ipv6", str(int(not has)))
    if has:
        sysctl.write(f"{settings}/accept_ra", "0")
        sysctl.write(f"{settings}/ndisc_notify", "1")
        # The guard knows the link-local address that follows from the MAC, and no other.
        sysctl.write(f"{settings}/addr_gen_mode", "0")


def redress(fact: End) -> None:
    """Set up the inside end that may be in another shape, in the sandbox's namespace."""
    index = socket.if_nametoindex(fact.inside)
    with Rtnl() as inside:
        there = inside.addresses().get(index, [])
        foreign = [rtnl.drop_address(index, one) for one in there if one not in fact.addresses]
        inside.talk(*foreign, rtnl.set_link(index, mtu=fact.mtu, mac=fact.mac))
    dress(fact)


def _retire_inside(index: int, peer: int, addresses: Sequence[Interface]) -> None:
    with Rtnl() as inside:
        # Somebody may have moved the end elsewhere; what has its index here is none of ours then.
        if inside.ends(index) == (index, peer):
            gone = [rtnl.drop_address(index, one) for one in addresses]
            inside.talk(*link_reaper.down(index), *gone, *link_reaper.rename(index))
