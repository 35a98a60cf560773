"""Further bridges of a network, each joined to the first by a veth pair: made, looked at, retired.

A bridge takes 1,023 ports and no more.  The joint's ends are called after the segment, so that all three are
found, and go, together.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Collection, Iterator

from netd.common.errors import KernelRefused
from netd.facts import Segment
from netd.kernel import sysctl
from netd.kernel.links import link_reaper
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

PREFIX, _JOINT = "nds", "ndj"
MARK = "netd segment"
"""The ifalias of segments."""
Find = Callable[[str], rtnl.Link | None]


def names(segment: str) -> tuple[str, str, str]:
    """Return the bridge's name and those of the joint's ends: at the network's first bridge, and at this one."""
    stem = _JOINT + segment.removeprefix(PREFIX)
    return segment, f"{stem}a", f"{stem}b"


def is_joint(name: str) -> bool:
    return name.startswith(_JOINT)


def put(host: Rtnl, fact: Segment) -> None:
    """Make the segment, or bring what is there of it into this shape."""
    first = index_of(fact.bridge)
    if first is None:
        raise KernelRefused(f"bridge {fact.bridge} does not exist", errno.ENODEV)
    own, upper, lower = _made(host, fact)
    for name in names(fact.name):
        sysctl.write_optional(f"net/ipv6/conf/{name}/disable_ipv6", "1")
    host.talk(
        rtnl.set_link(own, mtu=fact.mtu, alias=MARK),
        *_port(fact, 1, upper, first, isolated=fact.isolated),
        *_port(fact, 2, lower, own, isolated=False),
        rtnl.set_link(own, up=True),
    )


def _port(fact: Segment, end: int, index: int, bridge: int, *, isolated: bool) -> list[Request]:
    """Make an end of the joint a port.  What came by it is not sent back by it: there is nobody who waits for that."""
    name = names(fact.name)[end]
    return [
        rtnl.set_link(index, mtu=fact.mtu, master=bridge),
        rtnl.set_port(name, isolated=isolated, hairpin=False),
        rtnl.set_link(index, up=True),
    ]


def _made(host: Rtnl, fact: Segment) -> tuple[int, int, int]:
    """Return the indices of the bridge and the joint's ends; half a joint is made anew."""
    name, upper, lower = names(fact.name)
    if index_of(name) is None:
        mac = (b"\x02\x42" + secrets.token_bytes(4)).hex(":")
        host.talk(rtnl.new_bridge(name, fact.mtu, mac), rtnl.set_link(name, mtu=fact.mtu))
    ends = [host.ends(upper), host.ends(lower)]
    if not _joined(*ends):
        host.talk(*(one for end in ends if end for one in _retiring(end[0])))
        host.talk(rtnl.new_joint(upper, lower, fact.mtu))
    return _index(name), _index(upper), _index(lower)


def _joined(upper: tuple[int, int] | None, lower: tuple[int, int] | None) -> bool:
    return upper is not None and lower is not None and upper == (lower[1], lower[0])


def _index(name: str) -> int:
    if (found := index_of(name)) is None:
        raise KernelRefused(f"link {name} was removed while it was set up", errno.ENODEV)
    return found


def _retiring(index: int) -> list[Request]:
    return [*link_reaper.down(index), *link_reaper.rename(index)]


def drop(host: Rtnl, fact: Segment) -> None:
    """Retire all of it."""
    found = [index for name in names(fact.name) if (index := index_of(name)) is not None]
    host.talk(*(request for index in found for request in _retiring(index)))


def facts(links: Collection[rtnl.Link]) -> Iterator[Segment]:
    """Tell of every segment of which anything is there."""
    by_name = {link.name: link for link in links if link.name.startswith((PREFIX, _JOINT))}
    indexed = {link.index: link for link in links}
    for segment in sorted({_segment_of(name) for name in by_name}):
        yield fact(segment, by_name.get, indexed.get)


def _segment_of(name: str) -> str:
    return PREFIX + name.removeprefix(_JOINT)[:-1] if is_joint(name) else name


def fact(segment: str, named: Find, indexed: Callable[[int], rtnl.Link | None]) -> Segment:
    """Tell of one segment.  One that is not whole has no MTU."""
    own, upper, lower = (named(name) for name in names(segment))
    bridge = indexed(upper.master) if upper and upper.master else None
    whole = own and upper and lower and _is_whole(own, upper, lower)
    return Segment(
        name=segment,
        bridge=bridge.name if bridge else "",
        mtu=min(own.mtu, upper.mtu, lower.mtu) if own and upper and lower and whole else 0,
        isolated=bool(upper and upper.isolated),
    )


def _is_whole(own: rtnl.Link, upper: rtnl.Link, lower: rtnl.Link) -> bool:
    joined = (upper.peer, lower.peer) == (lower.index, upper.index) and lower.master == own.index
    return joined and not lower.isolated and own.up and upper.up and lower.up
