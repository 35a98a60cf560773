"""Bridges on the host: made, brought into shape, retired.

Owns the mark by which ours are known.  A bridge that somebody else made is used as it is, and never deleted.
"""

from __future__ import annotations

import errno
import re
from hashlib import blake2s

from netd.common.errors import KernelRefused
from netd.facts import Bridge
from netd.kernel import sysctl
from netd.kernel.links import egress_barrier, link_reaper
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

_OWN_NAME = re.compile(r"nd-[0-9a-f]{12}\Z")
MARK = "netd"
"""The ifalias of bridges that we made."""
_MTU_AT_BIRTH = 1280
"""A bridge follows the smallest MTU of its ports, until its own is changed once: so it is born with another.

A smaller one than this would hide the IPv6 settings from us until it is changed.
"""


def is_ours(link: rtnl.Link) -> bool:
    return link.kind == "bridge" and (link.alias == MARK or _is_half_made(link))


def _is_half_made(link: rtnl.Link) -> bool:
    """Tell whether a killed netd had made the link and not got to its mark, which it gets when it is set up."""
    return not link.up and not link.alias and _OWN_NAME.match(link.name) is not None


def put(host: Rtnl, fact: Bridge, was: Bridge | None = None) -> None:
    """Make the bridge, or bring the one that is there into this shape."""
    made = fact.owned and _make(host, fact)
    try:
        _shape(host, fact, was)
    except BaseException:
        if made:
            host.talk(rtnl.delete_link(fact.name))
        raise


def _shape(host: Rtnl, fact: Bridge, was: Bridge | None) -> None:
    index = index_of(fact.name)
    if index is None:
        raise KernelRefused(f"bridge {fact.name} does not exist", errno.ENODEV)
    if not fact.owned and (there := host.find(index)) is not None and there.kind != "bridge":
        raise KernelRefused(f"existing interface {fact.name} is not a bridge", errno.EOPNOTSUPP)
    sysctl.write(f"net/ipv4/conf/{fact.name}/route_localnet", str(int(fact.localnet)))
    address = [rtnl.add_address(index, one) for one in fact.addresses]
    if not fact.owned:
        host.talk(*address, rtnl.set_link(index, up=True), *_loopback6(index, fact))
        return
    _listen_to_nobody(fact)
    old = [rtnl.drop_address(index, one) for one in (was.addresses if was else ()) if one not in fact.addresses]
    up = rtnl.set_link(index, up=True, mtu=fact.mtu, alias=MARK)
    bar = tc.attach(index, egress_barrier.PROGRAM, tc.EGRESS)
    host.talk(*old, *bar, *address, up, *_loopback6(index, fact))


def _loopback6(index: int, fact: Bridge) -> list[Request]:
    """What ``route_localnet`` is for 127.0.0.0/8, for ::1."""
    if not any(one.version == 6 for one in fact.addresses):
        return []
    return [rtnl.admit_loopback6(index) if fact.localnet else rtnl.refuse_loopback6(index)]


def _listen_to_nobody(fact: Bridge) -> None:
    """Take no routes from containers, and switch IPv6 on only where the bridge has an address of it."""
    has = any(one.version == 6 for one in fact.addresses)
    sysctl.write(f"net/ipv4/conf/{fact.name}/accept_redirects", "0")
    sysctl.write_optional(f"net/ipv6/conf/{fact.name}/accept_redirects", "0")
    sysctl.write_optional(f"net/ipv6/conf/{fact.name}/accept_ra", "0")
    # Until its link-local address is tried, a bridge asks for no neighbour on behalf of others.
    sysctl.write_optional(f"net/ipv6/conf/{fact.name}/accept_dad", "0")
    sysctl.write_optional(f"net/ipv6/conf/{fact.name}/disable_ipv6", str(int(not has)))


def _make(host: Rtnl, fact: Bridge) -> bool:
    """Make the bridge if it is not there, and tell whether it was not."""
    try:
        host.talk(rtnl.new_bridge(fact.name, _MTU_AT_BIRTH, _mac(fact)))
    except OSError as problem:
        if problem.errno != errno.EEXIST:
            raise
        there = host.find(fact.name)
        if there and not is_ours(there):
            message = f"a link named {fact.name} exists already and is not netd's"
            raise KernelRefused(message, errno.EEXIST) from problem
        return False
    return True


def _mac(fact: Bridge) -> str:
    """Return a MAC that is the same when the bridge is made again, so that containers' neighbour entries stay right.

    One that was set is also not changed by the kernel as ports come and go.
    """
    first = fact.addresses[0] if fact.addresses else None
    if first is not None and first.version == 4:
        return (b"\x02\x42" + first.ip.packed).hex(":")
    return (b"\x02\x42" + blake2s(f"{fact.name} {first}".encode(), digest_size=4).digest()).hex(":")


def drop(host: Rtnl, fact: Bridge) -> None:
    """Retire the bridge; of one that is not ours, only take back what we set."""
    index = index_of(fact.name)
    if index is None:
        return
    if not fact.owned:
        sysctl.write(f"net/ipv4/conf/{fact.name}/route_localnet", "0")
        addresses = (rtnl.drop_address(index, one) for one in host.our_addresses(index))
        host.talk(*addresses, rtnl.refuse_loopback6(index))
        return
    # A link that is down goes on answering for its addresses.
    address = [rtnl.drop_address(index, one) for one in fact.addresses]
    host.talk(*link_reaper.down(index), *address, *link_reaper.rename(index))
