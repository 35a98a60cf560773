"""Rtnetlink requests and replies for links, addresses and routes.

Pure: builds requests and decodes replies; messages.py sends them.  Requests are packed with struct because they
are on the hot path; link_reading.py decodes links.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network

from netd.common.addresses import Address, Interface, Subnet
from netd.kernel.netlink.link_reading import IFF_UP
from netd.kernel.netlink.link_reading import Link as Link
from netd.kernel.netlink.link_reading import read_link as read_link
from netd.kernel.netlink.messages import (
    CREATE,
    EXCL,
    REPLACE,
    Message,
    Request,
    attribute,
    attributes,
    nest,
    text,
    u8,
    u32,
)
from netd.kernel.netlink.pyroute2_parts import rtnl

_IFF_NOARP = 0x80
NETD_ADDRESS_PROTOCOL = 0x6E
"""IFA_PROTO of the addresses that netd sets; ``ip addr`` shows it."""
_LINK_LOCAL_PROTOCOL = 3
"""IFA_PROTO of the link-local addresses that the kernel generates (IFAPROT_KERNEL_LL)."""
RETIRED_GROUP, RETIRED_BRIDGES = 0x6E64786E, 0x6E64786F
"""The groups of retired links, so that a single request deletes all of them, and of retired bridges."""

# linux/if_link.h
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _IFALIAS = 1, 3, 4, 5, 10, 18, 20
_AF_SPEC, _GROUP, _NET_NS_FD, _EXT_MASK = 26, 27, 28, 29
_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_PROP_LIST, _ALT_IFNAME = 52, 53
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_INET_CONF, _CONF_ARP_NOTIFY = 1, 22
"""IFLA_INET_CONF of linux/if_link.h, IPV4_DEVCONF_ARP_NOTIFY of linux/ip.h."""
_VETH_INFO_PEER, _BRPORT_MODE, _BRPORT_ISOLATED = 1, 4, 33
_MACVLAN_MODE = 1
_SKIP_STATS = 8
_AF_INET, _AF_INET6 = 2, 10
_FAMILIES = {4: _AF_INET, 6: _AF_INET6}
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=xBxxI")
_NEXT_HOP = struct.Struct("=HxxI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_AF_BRIDGE, _NUD_NOARP, _NTF_MASTER, _NEIGHBOUR_MAC = 7, 0x40, 0x04, 2
_RTMSG = struct.Struct("=xBxxBBxB4x")
# linux/if_addr.h, linux/rtnetlink.h
_IFA_PROTO, _IFA_F_NODAD = 11, 0x02
_IFA_ADDRESS, _IFA_LOCAL, _DESTINATION, _OUT_LINK, _GATEWAY, _PRIORITY, _SOURCE, _MULTIPATH, _TABLE = (
    1,
    2,
    1,
    4,
    5,
    6,
    7,
    9,
    15,
)
MAIN_TABLE = 254
LOCAL_TABLE = 255
HOST_SCOPE = 254
"""RT_SCOPE_HOST: an address that is not used as source of packets to other hosts."""
_UNICAST, _LOCAL, _MULTICAST = 1, 2, 5
_SCOPE_LINK = 253
_DESTINATION_TYPES = (_UNICAST, _LOCAL, 6, 7, 8)
"""Also RTN_BLACKHOLE, RTN_UNREACHABLE and RTN_PROHIBIT; not broadcast and multicast."""
_PROTO_KERNEL, _PROTO_STATIC = 2, 4
_IPV6_METRIC = 256
"""The metric of the routes that the kernel derives from IPv6 addresses (IP6_RT_PRIO_ADDRCONF)."""
_LOW_PRIORITY = 2048
"""The metric of a default route without a gateway, so that one with a gateway takes precedence."""


@dataclass(frozen=True, slots=True)
class RtnlRoute:
    destination: Subnet
    gateway: Address | None
    link: int
    table: int
    kind: int
    static: bool = False
    """Whether it was set by a program (RTPROT_STATIC), not by the kernel."""
    source: Address | None = None
    """The preferred source address, if the route has one."""
    further_links: tuple[int, ...] = ()
    """The other links of a multipath route."""
    metric: int = field(default=0, compare=False)


def _link(
    kind: int,
    *attrs: bytes,
    index: int = 0,
    up: bool | None = None,
    flags: int = 0,
    tolerate: tuple[int, ...] = (),
) -> Request:
    header = _IFINFO.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    return Request(kind, header + b"".join(attrs), flags, tolerate)


def _mac(text_form: str) -> bytes:
    return bytes.fromhex(text_form.replace(":", ""))


def new_bridge(name: str, mtu: int, mac: str) -> Request:
    info = nest(_LINKINFO, text(_INFO_KIND, "bridge"))
    return _link(
        rtnl.RTM_NEWLINK, text(_IFNAME, name), u32(_MTU, mtu), attribute(_ADDRESS, _mac(mac)), info, flags=CREATE | EXCL
    )


def new_pair(host: str, inside: str, netns: int, master: int, mac: str, mtu: int, index: int) -> Request:
    """Create a veth pair, down; *inside* is created in the namespace *netns* with its name and MAC.

    *index* is the index of *host*; if another link has it, the request fails with EBUSY.
    """
    peer = _IFINFO.pack(0, 0, 0, 0, 0) + b"".join(
        (text(_IFNAME, inside), u32(_MTU, mtu), attribute(_ADDRESS, _mac(mac)), u32(_NET_NS_FD, netns))
    )
    info = nest(_LINKINFO, text(_INFO_KIND, "veth"), nest(_INFO_DATA, attribute(_VETH_INFO_PEER, peer)))
    return _link(
        rtnl.RTM_NEWLINK,
        text(_IFNAME, host),
        u32(_MTU, mtu),
        u32(_MASTER, master),
        info,
        index=index,
        flags=CREATE | EXCL,
    )


def new_veth_without_arp(name: str, peer_name: str, mac: str, mtu: int) -> Request:
    """Create a veth pair, down, both ends in this namespace and with the same MAC; *name* sends without ARP."""
    attrs = (u32(_MTU, mtu), attribute(_ADDRESS, _mac(mac)))
    peer = _IFINFO.pack(0, 0, 0, 0, 0) + b"".join((text(_IFNAME, peer_name), *attrs))
    info = nest(_LINKINFO, text(_INFO_KIND, "veth"), nest(_INFO_DATA, attribute(_VETH_INFO_PEER, peer)))
    header = _IFINFO.pack(0, 0, 0, _IFF_NOARP, _IFF_NOARP)
    return Request(rtnl.RTM_NEWLINK, header + b"".join((text(_IFNAME, name), *attrs, info)), CREATE | EXCL)


def delete_link(name: str) -> Request:
    return _link(rtnl.RTM_DELLINK, text(_IFNAME, name), tolerate=(errno.ENODEV,))


def new_veth(name: str, peer_name: str, mtu: int) -> Request:
    """Create a veth pair, down, both ends in this namespace."""
    peer = _IFINFO.pack(0, 0, 0, 0, 0) + text(_IFNAME, peer_name) + u32(_MTU, mtu)
    info = nest(_LINKINFO, text(_INFO_KIND, "veth"), nest(_INFO_DATA, attribute(_VETH_INFO_PEER, peer)))
    return _link(rtnl.RTM_NEWLINK, text(_IFNAME, name), u32(_MTU, mtu), info, flags=CREATE | EXCL)


def new_macvlan(name: str, parent: int, mode: int, mac: str, mtu: int, netns: int | None = None) -> Request:
    """Create a macvlan link on *parent*, down; with *netns*, in that namespace."""
    info = nest(_LINKINFO, text(_INFO_KIND, "macvlan"), nest(_INFO_DATA, u32(_MACVLAN_MODE, mode)))
    attrs = [text(_IFNAME, name), u32(_LINK, parent), u32(_MTU, mtu), attribute(_ADDRESS, _mac(mac)), info]
    if netns is not None:
        attrs.append(u32(_NET_NS_FD, netns))
    return _link(rtnl.RTM_NEWLINK, *attrs, flags=CREATE | EXCL)


def set_link(
    link: str | int,
    *,
    up: bool | None = None,
    name: str | None = None,
    mtu: int | None = None,
    master: int | None = None,
    alias: str | None = None,
    mac: str | None = None,
    group: int | None = None,
    tolerate: tuple[int, ...] = (),
) -> Request:
    """Change the given properties of a link, by its name or index.

    Send a new *name* in a request of its own: older kernels rename only links that are down.
    """
    attrs = [text(_IFNAME, link)] if isinstance(link, str) else []
    if name is not None:
        attrs.append(text(_IFNAME, name))
    if alias is not None:
        attrs.append(text(_IFALIAS, alias) if alias else attribute(_IFALIAS, b""))
    if mac is not None:
        attrs.append(attribute(_ADDRESS, _mac(mac)))
    attrs += [
        u32(kind, value) for kind, value in ((_MTU, mtu), (_MASTER, master), (_GROUP, group)) if value is not None
    ]
    index = link if isinstance(link, int) else 0
    return _link(rtnl.RTM_SETLINK, *attrs, index=index, up=up, tolerate=tolerate)


def move_link(index: int, netns: int, name: str) -> Request:
    """Move a link that is down into the namespace of the descriptor *netns* and rename it to *name*."""
    return _link(rtnl.RTM_SETLINK, u32(_NET_NS_FD, netns), text(_IFNAME, name), index=index)


def without_ipv6(host: str) -> Request:
    """Do not generate an IPv6 link-local address when the link is set up; tolerates a kernel without IPv6."""
    mode = nest(_AF_SPEC, nest(_AF_INET6, u8(_ADDR_GEN_MODE, _ADDR_GEN_NONE)))
    return _link(rtnl.RTM_SETLINK, text(_IFNAME, host), mode, tolerate=(errno.EAFNOSUPPORT, errno.EOPNOTSUPP))


def set_arp_notify(index: int, *, on: bool) -> Request:
    """Set the sysctl ``arp_notify`` of a link: whether gratuitous ARP is sent when it gets up or an address."""
    conf = nest(_INET_CONF, u32(_CONF_ARP_NOTIFY, int(on)))
    return _link(rtnl.RTM_SETLINK, nest(_AF_SPEC, nest(_AF_INET, conf)), index=index)


def set_ipv4_settings(index: int, values: Mapping[int, int]) -> Request:
    """Set IPv4 sysctls of a link, by IPV4_DEVCONF_* of linux/ip.h, without notifications and flushed routes."""
    conf = nest(_INET_CONF, *(u32(kind, value) for kind, value in values.items()))
    return _link(rtnl.RTM_SETLINK, nest(_AF_SPEC, nest(_AF_INET, conf)), index=index)


def set_port(host: str, *, isolated: bool, hairpin: bool = True) -> Request:
    """Set isolation and hairpin mode of a bridge port.

    Hairpin: a container's packets to its own published port return by the same port if br_netfilter translates them.
    """
    port = nest(_INFO_SLAVE_DATA, u8(_BRPORT_MODE, hairpin), u8(_BRPORT_ISOLATED, isolated))
    return _link(rtnl.RTM_NEWLINK, text(_IFNAME, host), nest(_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), port))


def set_bridge(index: int, data: bytes) -> Request:
    """Set attributes of a bridge (IFLA_BR_*); *data* contains them encoded."""
    info = nest(_LINKINFO, text(_INFO_KIND, "bridge"), nest(_INFO_DATA, data))
    return _link(rtnl.RTM_NEWLINK, info, index=index)


def set_port_attributes(host: str, data: bytes) -> Request:
    """Set attributes of a bridge port (IFLA_BRPORT_*); *data* contains them encoded."""
    info = nest(_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), nest(_INFO_SLAVE_DATA, data))
    return _link(rtnl.RTM_NEWLINK, text(_IFNAME, host), info)


def static_forwarding(port: int, mac: str) -> Request:
    """Make the bridge send the frames for a MAC to *port*, also if it has not seen a frame from there."""
    header = _NEIGHBOUR.pack(_AF_BRIDGE, port, _NUD_NOARP, _NTF_MASTER, 0)
    return Request(rtnl.RTM_NEWNEIGH, header + attribute(_NEIGHBOUR_MAC, _mac(mac)), CREATE | REPLACE)


def delete_forwarding(port: int, mac: str) -> Request:
    """Delete the entry of ``static_forwarding``, if there is one."""
    header = _NEIGHBOUR.pack(_AF_BRIDGE, port, 0, _NTF_MASTER, 0)
    return Request(rtnl.RTM_DELNEIGH, header + attribute(_NEIGHBOUR_MAC, _mac(mac)), tolerate=(errno.ENOENT,))


def add_alternative_name(host: str, alternative: str) -> Request:
    """Add an alternative name to a link; tolerates that another link has it."""
    names = nest(_PROP_LIST, text(_ALT_IFNAME, alternative))
    return _link(
        rtnl.RTM_NEWLINKPROP, text(_IFNAME, host), names, flags=CREATE | EXCL, tolerate=(errno.EEXIST, errno.EOPNOTSUPP)
    )


_NAME_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP)


def delete_alternative_name(index: int, alternative: str) -> Request:
    names = nest(_PROP_LIST, text(_ALT_IFNAME, alternative))
    return _link(rtnl.RTM_DELLINKPROP, names, index=index, tolerate=_NAME_GONE)


def delete_group(group: int) -> Request:
    return _link(rtnl.RTM_DELLINK, u32(_GROUP, group), tolerate=(errno.ENODEV,))


def _address(
    kind: int,
    index: int,
    address: Interface,
    flags: int,
    tolerate: tuple[int, ...],
    scope: int = 0,
    protocol: int = NETD_ADDRESS_PROTOCOL,
) -> Request:
    # netd assigns addresses without duplicates: duplicate address detection would only delay the first use by a second.
    nodad = _IFA_F_NODAD if address.version == 6 else 0
    header = struct.pack("=BBBBI", _FAMILIES[address.version], address.network.prefixlen, nodad, scope, index)
    packed = address.ip.packed
    has_broadcast = address.version == 4 and address.network.prefixlen < 31
    broadcast = attribute(4, address.network.broadcast_address.packed) if has_broadcast else b""
    attrs = attribute(2, packed) + attribute(1, packed) + broadcast + u8(_IFA_PROTO, protocol)
    return Request(kind, header + attrs, flags, tolerate)


def add_address(index: int, address: Interface, *, scope: int = 0) -> Request:
    return _address(rtnl.RTM_NEWADDR, index, address, CREATE | EXCL, (errno.EEXIST,), scope)


def add_link_local(index: int, address: Interface) -> Request:
    """Add the link-local address that the kernel would generate, which is then not tentative for two seconds.

    Tolerates that IPv6 is disabled on the link.
    """
    tolerate = (errno.EEXIST, errno.EACCES)
    return _address(rtnl.RTM_NEWADDR, index, address, CREATE | EXCL, tolerate, protocol=_LINK_LOCAL_PROTOCOL)


def delete_address(index: int, address: Interface) -> Request:
    return _address(rtnl.RTM_DELADDR, index, address, 0, (errno.EADDRNOTAVAIL, errno.ENODEV))


def _default_route(kind: int, gateway: Address, link: int, flags: int, tolerate: tuple[int, ...]) -> Request:
    header = struct.pack("=BBBBBBBBI", _FAMILIES[gateway.version], 0, 0, 0, MAIN_TABLE, _PROTO_STATIC, 0, _UNICAST, 0)
    out = u32(_OUT_LINK, link) if link else b""
    return Request(kind, header + attribute(_GATEWAY, gateway.packed) + out, flags, tolerate)


def _route(kind: int, link: int, to: Subnet, via: Address | None, flags: int, tolerate: tuple[int, ...]) -> Request:
    family, scope = _FAMILIES[to.version], 0 if via or to.version == 6 else _SCOPE_LINK
    header = struct.pack("=BBBBBBBBI", family, to.prefixlen, 0, 0, MAIN_TABLE, _PROTO_STATIC, scope, _UNICAST, 0)
    attrs = attribute(_DESTINATION, to.network_address.packed) + u32(_OUT_LINK, link)
    if via is not None:
        attrs += attribute(_GATEWAY, via.packed)
    elif to.prefixlen == 0:
        attrs += u32(_PRIORITY, _LOW_PRIORITY)
    return Request(kind, header + attrs, flags, tolerate)


def add_route(link: int, to: Subnet, via: Address | None) -> Request:
    """Add a route by *link*; without *via* the destination is directly on the link."""
    return _route(rtnl.RTM_NEWROUTE, link, to, via, CREATE | EXCL, ())


def put_host_route(link: int, to: Subnet, source: Address | None) -> Request:
    """Add or replace a route to *to* by *link*, with *source* as preferred source if given."""
    request = _route(rtnl.RTM_NEWROUTE, link, to, None, CREATE | REPLACE, ())
    attrs = attribute(_SOURCE, source.packed) if source else b""
    return Request(request.kind, request.body + attrs, request.flags)


def delete_route(link: int, to: Subnet, via: Address | None) -> Request:
    return _route(rtnl.RTM_DELROUTE, link, to, via, 0, (errno.ESRCH, errno.ENETUNREACH, errno.ENODEV))


def add_kernel_route(link: int, table: int, to: Subnet, source: Address | None) -> Request:
    """Add a route by *link* as the kernel derives it from an address; it precedes other routes to *to*.

    In the local table the destination is the host itself, except for multicast.
    """
    kind = _UNICAST if table == MAIN_TABLE else _MULTICAST if to.is_multicast else _LOCAL
    scope = 0 if to.version == 6 else _SCOPE_LINK if kind == _UNICAST else HOST_SCOPE
    family = _FAMILIES[to.version]
    header = struct.pack("=BBBBBBBBI", family, to.prefixlen, 0, 0, 0, _PROTO_KERNEL, scope, kind, 0)
    attrs = attribute(_DESTINATION, to.network_address.packed) + u32(_OUT_LINK, link) + u32(_TABLE, table)
    if source is not None and to.version == 4:
        attrs += attribute(_SOURCE, source.packed)
    if to.version == 6 and kind != _LOCAL:
        attrs += u32(_PRIORITY, _IPV6_METRIC)
    return Request(rtnl.RTM_NEWROUTE, header + attrs, CREATE, (errno.EEXIST,))


def put_default_route(gateway: Address, link: int = 0) -> Request:
    """Add or replace the default route of the main table; *link* is needed if the gateway is a link-local address."""
    return _default_route(rtnl.RTM_NEWROUTE, gateway, link, CREATE | REPLACE, ())


def delete_default_route(gateway: Address) -> Request:
    return _default_route(rtnl.RTM_DELROUTE, gateway, 0, 0, (errno.ESRCH, errno.ENETUNREACH, errno.ENODEV))


def _loopback6_route(kind: int, index: int, flags: int, tolerate: tuple[int, ...]) -> Request:
    header = struct.pack("=BBBBBBBBI", _AF_INET6, 128, 0, 0, LOCAL_TABLE, _PROTO_STATIC, 0, _LOCAL, 0)
    packed = IPv6Address("::1").packed
    return Request(kind, header + attribute(_DESTINATION, packed) + u32(_OUT_LINK, index), flags, tolerate)


def add_loopback6_route(index: int) -> Request:
    """Accept translated replies to ::1 that arrive by a link; the kernel still drops untranslated packets to ::1."""
    # Without EXCL, which would refuse a route to ::1 in addition to those of other links.
    return _loopback6_route(rtnl.RTM_NEWROUTE, index, CREATE, (errno.EEXIST,))


def delete_loopback6_route(index: int) -> Request:
    return _loopback6_route(rtnl.RTM_DELROUTE, index, 0, (errno.ESRCH, errno.ENODEV, errno.EOPNOTSUPP))


def list_links() -> Request:
    return _link(rtnl.RTM_GETLINK, u32(_EXT_MASK, _SKIP_STATS))


def find_link(link: str | int) -> Request:
    attrs = [text(_IFNAME, link)] if isinstance(link, str) else []
    return _link(rtnl.RTM_GETLINK, *attrs, u32(_EXT_MASK, _SKIP_STATS), index=link if isinstance(link, int) else 0)


def list_bridges() -> Request:
    """Request all links of the kind bridge."""
    return _link(rtnl.RTM_GETLINK, nest(_LINKINFO, text(_INFO_KIND, "bridge")), u32(_EXT_MASK, _SKIP_STATS))


def list_addresses(link: int = 0) -> Request:
    """Request the addresses of both families of one link, or with 0 of all links."""
    return Request(rtnl.RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, link))


def list_routes(table: int = 0, link: int = 0) -> Request:
    """Request the routes of all families in one table and by one link; 0 means all."""
    header = struct.pack("=BBBBBBBBI", 0, 0, 0, 0, table, 0, 0, 0, 0)
    return Request(rtnl.RTM_GETROUTE, header + (u32(_OUT_LINK, link) if link else b""))


def read_ends(message: Message) -> tuple[int, int]:
    """Return the index of a veth and that of its peer, without decoding the rest."""
    (index,) = struct.unpack_from("=i", message.body, 4)
    peer = attributes(message.body, _IFINFO.size).get(_LINK, b"\0\0\0\0")
    return index, int.from_bytes(peer, sys.byteorder)


def read_first_name(message: Message) -> tuple[int, str]:
    """Return a link's index and name, which the kernel writes first, without decoding the rest."""
    (index,) = struct.unpack_from("=i", message.body, 4)
    length, kind = struct.unpack_from("=HH", message.body, _IFINFO.size)
    if kind != _IFNAME:
        return read_name(message)[:2]
    return index, message.body[_IFINFO.size + 4 : _IFINFO.size + length].rstrip(b"\0").decode(errors="replace")


def read_name(message: Message) -> tuple[int, str, str]:
    """Return a link's index, name and ifalias, without decoding the rest."""
    (index,) = struct.unpack_from("=i", message.body, 4)
    attrs = attributes(message.body, _IFINFO.size)
    return index, *(attrs.get(kind, b"").rstrip(b"\0").decode(errors="replace") for kind in (_IFNAME, _IFALIAS))


def read_mtu(message: Message) -> int:
    return _number(attributes(message.body, _IFINFO.size).get(_MTU))


def read_address(message: Message) -> tuple[int, Interface]:
    """Return the index of the link and the address."""
    prefix, index = _IFADDR.unpack_from(message.body)
    attrs = attributes(message.body, _IFADDR.size)
    # For IPv6 the kernel sends IFA_LOCAL only if there is a peer address.
    return index, ip_interface((attrs.get(_IFA_LOCAL) or attrs[_IFA_ADDRESS], prefix))


def is_own_address(message: Message) -> bool:
    """Return whether netd set the address; always false on kernels before 5.18, which have no IFA_PROTO."""
    return attributes(message.body, _IFADDR.size).get(_IFA_PROTO) == bytes((NETD_ADDRESS_PROTOCOL,))


def is_route(message: Message) -> bool:
    """Return false for routes of other families than IPv4 and IPv6, such as those of multicast routing."""
    return message.body[0] in _FAMILIES.values()


def read_route(message: Message) -> RtnlRoute:
    length, table, protocol, kind = _RTMSG.unpack_from(message.body)
    attrs = attributes(message.body, _RTMSG.size)
    gateway = attrs.get(_GATEWAY)
    hops = _hops(attrs.get(_MULTIPATH, b""))
    return RtnlRoute(
        destination=ip_network((attrs.get(_DESTINATION, bytes(4 if message.body[0] == _AF_INET else 16)), length)),
        gateway=ip_address(gateway) if gateway else None,
        link=_number(attrs.get(_OUT_LINK)) or next(iter(hops), 0),
        table=_number(attrs.get(_TABLE)) or table,
        kind=kind,
        static=protocol == _PROTO_STATIC,
        source=ip_address(attrs[_SOURCE]) if _SOURCE in attrs else None,
        further_links=hops[1:],
        metric=_number(attrs.get(_PRIORITY)),
    )


def _hops(payload: bytes) -> tuple[int, ...]:
    """Return the links of a multipath route."""
    found: list[int] = []
    while len(payload) >= _NEXT_HOP.size:
        length, link = _NEXT_HOP.unpack_from(payload)
        found.append(link)
        payload = payload[max(length, _NEXT_HOP.size) :]
    return tuple(found)


def _number(payload: bytes | None) -> int:
    return int.from_bytes(payload or b"", sys.byteorder)


def uses_destination(route: RtnlRoute) -> bool:
    """Return whether networks must not overlap the destination: false for default routes and addresses of the host."""
    if route.destination.prefixlen == 0 or route.kind not in _DESTINATION_TYPES:
        return False
    if route.destination.version == 6 and (route.destination.is_link_local or route.destination.is_multicast):
        return False
    return route.kind != _LOCAL or route.destination.prefixlen < route.destination.max_prefixlen


def is_default(route: RtnlRoute) -> bool:
    """Return whether the route is a default route by a link."""
    return route.destination.prefixlen == 0 and route.kind == _UNICAST and route.link != 0
