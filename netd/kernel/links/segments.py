"""Creation, observation and retirement of segments: further bridges of a network, joined to the first by a veth pair.

The kernel limits a bridge to 1,023 ports.  Owns the bridges ``nds…`` and the uplink pairs ``ndj…a`` and ``ndj…b``,
whose names are derived from the segment's, so that all three are found and retired together.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Collection, Iterator

from netd.common.errors import KernelRefused
from netd.facts import Segment
from netd.kernel import sysctl
from netd.kernel.links import bridge_settings, bridges, link_reaper
from netd.kernel.netlink import rtnl
from netd.kernel.netlink.messages import Request
from netd.kernel.netlink.rtnl_socket import Rtnl, index_of

PREFIX, _UPLINK = "nds", "ndj"
MARK = "netd segment"
"""The ifalias of segments."""
Find = Callable[[str], rtnl.Link | None]


def names(segment: str) -> tuple[str, str, str]:
    """Return the names of the bridge and of the uplink's ends: at the network's first bridge, and at this bridge."""
    stem = _UPLINK + segment.removeprefix(PREFIX)
    return segment, f"{stem}a", f"{stem}b"


def first_bridge(bridge: rtnl.Link, named: Find) -> int:
    """Return the index of the first bridge of the network of *bridge*; 0 for bridges that are not netd's."""
    if bridge.alias != MARK:
        return bridge.index if bridges.is_own(bridge) else 0
    upper = named(names(bridge.name)[1])
    return upper.master if upper else 0


def is_uplink(name: str) -> bool:
    return name.startswith(_UPLINK)


def put(host: Rtnl, fact: Segment) -> None:
    """Create the segment or its missing links, and configure it."""
    first = index_of(fact.bridge)
    if first is None:
        raise KernelRefused(f"bridge {fact.bridge} does not exist", errno.ENODEV)
    own, upper, lower = _created(host, fact)
    for name in names(fact.name):
        sysctl.write_optional(f"net/ipv6/conf/{name}/disable_ipv6", "1")
    # The kernel answers ARP queries for all addresses of the host on all its links, with the MAC of the link.
    sysctl.write_optional(f"net/ipv4/conf/{fact.name}/arp_ignore", str(bridge_settings.NO_ARP_REPLIES))
    host.talk(
        rtnl.set_link(own, mtu=fact.mtu, alias=MARK),
        *_port(fact, 1, upper, first, isolated=fact.isolated),
        *_port(fact, 2, lower, own, isolated=False),
        rtnl.set_link(own, up=True),
    )
    _restore(host, fact)


def _restore(host: Rtnl, fact: Segment) -> None:
    """Restore attributes that another program has changed."""
    own, *ends = (host.find(name) for name in names(fact.name))
    requests = bridge_settings.restored_attributes(own) if own else []
    host.talk(
        *requests, *(request for end in ends if end for request in bridge_settings.restored_port(end, hairpin=False))
    )


def _port(fact: Segment, end: int, index: int, bridge: int, *, isolated: bool) -> list[Request]:
    """Return the requests that make an end of the uplink a port of *bridge*, without hairpin mode."""
    name = names(fact.name)[end]
    return [
        rtnl.set_link(index, mtu=fact.mtu, master=bridge),
        rtnl.set_port(name, isolated=isolated, hairpin=False),
        rtnl.set_link(index, up=True),
    ]


def _created(host: Rtnl, fact: Segment) -> tuple[int, int, int]:
    """Create missing links and return the indices of bridge and uplink ends; an uplink with one end is replaced."""
    name, upper, lower = names(fact.name)
    if index_of(name) is None:
        mac = (b"\x02\x42" + secrets.token_bytes(4)).hex(":")
        host.talk(rtnl.new_bridge(name, fact.mtu, mac), rtnl.set_link(name, mtu=fact.mtu))
    ends = [host.ends(upper), host.ends(lower)]
    if not _is_pair(*ends):
        host.talk(*(request for end in ends if end for request in _retiring(end[0])))
        host.talk(rtnl.new_veth(upper, lower, fact.mtu))
    return _index(name), _index(upper), _index(lower)


def _is_pair(upper: tuple[int, int] | None, lower: tuple[int, int] | None) -> bool:
    return upper is not None and lower is not None and upper == (lower[1], lower[0])


def _index(name: str) -> int:
    if (found := index_of(name)) is None:
        raise KernelRefused(f"link {name} was removed while it was set up", errno.ENODEV)
    return found


def _retiring(index: int) -> list[Request]:
    return [*link_reaper.retire(index), *link_reaper.rename(index)]


def delete(host: Rtnl, fact: Segment) -> None:
    """Retire the bridge and both ends of the uplink."""
    found = [index for name in names(fact.name) if (index := index_of(name)) is not None]
    host.talk(*(request for index in found for request in _retiring(index)))


def facts(links: Collection[rtnl.Link]) -> Iterator[Segment]:
    """Yield the fact of every segment of which at least one link exists."""
    by_name = {link.name: link for link in links if link.name.startswith((PREFIX, _UPLINK))}
    indexed = {link.index: link for link in links}
    for segment in sorted({_segment_of(name) for name in by_name}):
        yield fact(segment, by_name.get, indexed.get)


def _segment_of(name: str) -> str:
    return PREFIX + name.removeprefix(_UPLINK)[:-1] if is_uplink(name) else name


def fact(segment: str, named: Find, indexed: Callable[[int], rtnl.Link | None]) -> Segment:
    """Return the fact of a segment; an incomplete segment has MTU 0."""
    own, upper, lower = (named(name) for name in names(segment))
    bridge = indexed(upper.master) if upper and upper.master else None
    complete = own and upper and lower and _is_complete(own, upper, lower)
    return Segment(
        name=segment,
        bridge=bridge.name if bridge else "",
        mtu=min(own.mtu, upper.mtu, lower.mtu) if own and upper and lower and complete else 0,
        isolated=bool(upper and upper.isolated),
        faults=tuple(_faults(own, upper, lower)) if own and upper and lower else (),
    )


def _faults(own: rtnl.Link, *ends: rtnl.Link) -> Iterator[str]:
    yield from bridge_settings.wrong_attributes(own)
    if not bridge_settings.has_arp_ignore(own):
        yield "arp_ignore"
    for end in ends:
        yield from bridge_settings.wrong_port_attributes(end, hairpin=False)


def _is_complete(own: rtnl.Link, upper: rtnl.Link, lower: rtnl.Link) -> bool:
    is_pair = (upper.peer, lower.peer) == (lower.index, upper.index) and lower.master == own.index
    return is_pair and not lower.isolated and own.up and upper.up and lower.up
