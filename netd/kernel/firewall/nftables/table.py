"""The table ``inet netd`` without elements: fixed text that depends on one setting only.

All that varies is in elements of the sets and maps; see :mod:`netd.kernel.firewall.nftables.elements`.

If the host's own input rules are respected, the first packet of a connection from outside to a published port is not
translated: it enters the host's input hook like a packet to a program of the host, and passes the rules of all tables.
netd's last chain there sees the packets that those rules accept.  It sets the packet's priority as a mark (tables
cannot use each other's sets, and ``dup`` must be in a table of the packet's own family).  The packet is then duplicated
to a link of netd whose peer is in the same namespace, and dropped, before the connection is confirmed.  The duplicate
arrives as the connection's first packet and is translated; later packets of the connection are translated directly.
"""

from netd.kernel.links.egress_barrier import MARK
from netd.kernel.links.recirculation import ARRIVAL, NEXT_HOP, NEXT_HOP6, OUT
from netd.kernel.links.recirculation import MARK as RECIRCULATED
from netd.portmap.rules import ForwardMark

TABLE = "inet netd"
FORWARD_PRIORITY = -2147483600
"""Of the chain that drops forwarded packets; the chain that marks admitted packets follows."""

_SKELETON = """
table inet netd {
  map marked { type ifname : verdict; }
  set bridges { type ifname; }
  set homes { typeof fib saddr oifname; }
  set subnets { type ipv4_addr; flags interval; }
  set subnets6 { type ipv6_addr; flags interval; }
  set within { type ifname . ifname; }
  set isolated { type ifname; }
  set trusted { type ifname . ifname; }
  map leaving { type nf_proto . ifname : verdict; }
  map entering { type nf_proto . ifname : verdict; }
  set masquerading { type nf_proto . ifname; }
  map sources { type ifname : ipv4_addr; }
  map sources6 { type ifname : ipv6_addr; }

  set unanswered { type nf_proto; }
  set over_budget { type ipv4_addr; }
  set over_budget6 { type ipv6_addr; }

  map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ranges { type inet_proto . inet_service : ipv4_addr; flags interval; }
  map ranges_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; }
  set host_ports { type inet_proto . inet_service; }
  set host_spans { type inet_proto . inet_service; flags interval; }
  set own_ports { type ipv4_addr . inet_proto . inet_service; }
  set own_spans { type ipv4_addr . inet_proto . inet_service; flags interval; }
  set guarded { type ipv4_addr . inet_proto . inet_service; flags interval; }
  set allowed { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; }
  set opened { type ipv4_addr . inet_proto . inet_service; }
  set opened_ranges { type ipv4_addr . inet_proto . inet_service; flags interval; }
  set opened_to { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; }

  map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map ports6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  map ranges6 { type inet_proto . inet_service : ipv6_addr; flags interval; }
  map ranges6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr; flags interval; }
  set host_ports6 { type inet_proto . inet_service; }
  set host_spans6 { type inet_proto . inet_service; flags interval; }
  set own_ports6 { type ipv6_addr . inet_proto . inet_service; }
  set own_spans6 { type ipv6_addr . inet_proto . inet_service; flags interval; }
  set guarded6 { type ipv6_addr . inet_proto . inet_service; flags interval; }
  set allowed6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags interval; }
  set opened6 { type ipv6_addr . inet_proto . inet_service; }
  set opened6_ranges { type ipv6_addr . inet_proto . inet_service; flags interval; }
  set opened6_to { type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags interval; }

  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @ports_at
    dnat ip to meta l4proto . th dport map @ports
    dnat ip to ip daddr . meta l4proto . th dport map @ranges_at
    dnat ip to meta l4proto . th dport map @ranges
  }

  chain published6 {
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6_at
    dnat ip6 to meta l4proto . th dport map @ports6
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ranges6_at
    dnat ip6 to meta l4proto . th dport map @ranges6
  }

  # Drop connections from sources that the port is not published for.  Established connections skip nat chains.
  chain arriving {
    ip daddr . meta l4proto . th dport @guarded ip saddr . ip daddr . meta l4proto . th dport != @allowed drop
    goto published
  }

  chain arriving6 {
    ip6 daddr . meta l4proto . th dport @guarded6 ip6 saddr . ip6 daddr . meta l4proto . th dport != @allowed6 drop
    goto published6
  }

  # route_localnet opens the host's 127.0.0.0/8 to the containers: close it here.  For ::1 the kernel itself drops
  # packets from and to it that arrive by a link.
  chain loopback {
    type filter hook prerouting priority -300; policy accept;
    @untracked@
    ip daddr 127.0.0.0/8 iifname @bridges drop
    ip saddr 127.0.0.0/8 iifname @bridges drop
  }

  chain spoofed {
    type filter hook prerouting priority -150; policy accept;
    ct state new goto beginning
  }

  # New connections of containers over their budget are dropped before they take an entry of connection tracking.
  # Source addresses of a network are valid on its bridge only: on other links they are forged, for instance to match
  # the allowed sources of a port.  On the segments of a network (nds*), br_netfilter passes packets between ports here.
  chain beginning {
    ip saddr @over_budget drop
    ip6 saddr @over_budget6 drop
    ip6 saddr fe80::/10 accept
    iifname "nds*" accept
    iifname != @bridges fib saddr oifname @homes drop
  }

  # A neighbour that routes 127.0.0.1 to this host must not reach ports that are published there.  Packets from a
  # link-local address cannot be forwarded to another link.
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    @first@
    ip daddr != 127.0.0.0/8 fib daddr type local goto arriving
    ip6 daddr != ::1 ip6 saddr != fe80::/10 fib daddr type local goto arriving6
  }

  # The host itself is always allowed.  Where br_netfilter filters IPv6, it translates replies to ::1 before the kernel
  # drops packets to ::1 that arrive by a link: there, do not translate, so that the connection is refused at once.
  chain output {
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 fib daddr type local goto published
    ip6 daddr ::1 meta nfproto @unanswered return
    ip6 saddr != fe80::/10 fib daddr type local goto published6
  }

  # A connection from a source port that is published to another container gets a port where none is published: replies
  # of its peer could not be told from the peer's packets to the published port.
  chain other_port {
  }

  chain keeping_ports {
    meta l4proto . th sport @host_ports ip saddr . meta l4proto . th sport != @own_ports goto other_port
    meta l4proto . th sport @host_spans ip saddr . meta l4proto . th sport != @own_spans goto other_port
    meta l4proto . th sport @host_ports6 ip6 saddr . meta l4proto . th sport != @own_ports6 goto other_port
    meta l4proto . th sport @host_spans6 ip6 saddr . meta l4proto . th sport != @own_spans6 goto other_port
  }

  # Clients keep their address if replies to it pass this host.  They would not from the container's own network, from
  # the container itself, from the loopback addresses, and from containers to outside.  Packets that br_netfilter passes
  # between the ports of a bridge have no incoming link here, like those of the host itself.
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    iifname . oifname @within ct status dnat masquerade
    iif 0 oifname @bridges ct status dnat fib saddr type != local masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ip6 saddr ::1 oifname @bridges masquerade
    iifname @bridges oifname != @bridges jump keeping_ports
    oifname != @bridges snat ip to iifname map @sources
    oifname != @bridges snat ip6 to iifname map @sources6
    meta nfproto . iifname @masquerading oifname != @bridges masquerade
  }

  # The egress barrier of a bridge passes only packets that are marked here, so it is closed while this table is absent.
  # The priority is the last, so that no other table's rule matches the mark.  @marked is the first map of the table: a
  # flush empties maps, in their order, before it deletes rules and sets.
  chain mark_packet {
    meta mark set meta mark or @mark@
  }

  chain marking {
    type filter hook postrouting priority 2147483646; policy accept;
    @cleared@
  }

  # Peers that do not receive ICMP errors about a smaller path MTU would send segments that are too large.
  chain clamping {
    type filter hook forward priority -150; policy accept;
    tcp flags & (syn | rst) == syn goto clamp
  }

  chain clamp {
    iifname @bridges tcp option maxseg size set rt mtu
    oifname @bridges tcp option maxseg size set rt mtu
  }

  # Accept from a bridge only sources whose replies leave by it; a container without an address yet sends from 0.0.0.0
  # or ::.  The gateways of other networks do not answer pings.
  chain input {
    type filter hook input priority 0; policy accept;
    iifname @bridges icmp type echo-request ip daddr @subnets fib daddr . iif type != local drop
    iifname @bridges icmpv6 type echo-request ip6 daddr @subnets6 fib daddr . iif type != local drop
    iifname @bridges ip saddr != 0.0.0.0 fib saddr . iif oif missing drop
    iifname @bridges ip6 saddr != :: fib saddr . iif oif missing drop
  }

  # The priority precedes that of other programs, so that their rules can match the mark of admitted packets.
  chain forward {
    type filter hook forward priority @first-forward@; policy accept;
    iifname @bridges goto from_bridge
    meta nfproto . oifname vmap @entering
  }

  chain from_bridge {
    iifname . oifname @within goto among
    fib saddr . iif oif missing drop
    meta nfproto . iifname vmap @leaving
    meta nfproto . oifname vmap @entering
  }

  # Packets within a network pass here only if their port is published or br_netfilter passes them.
  chain among {
    @unmarked@
    ct status dnat fib saddr . iif oif missing drop
    iifname != @isolated accept
    ct state established,related accept
    ct status dnat accept
    drop
  }

  chain nat {
    ct state established,related accept
    ct status dnat accept
    iifname . oifname @trusted accept
    drop
  }

  chain routed {
    ct state established,related accept
    ct status dnat accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
    ip daddr . meta l4proto . th dport @opened accept
    ip daddr . meta l4proto . th dport @opened_ranges accept
    ip saddr . ip daddr . meta l4proto . th dport @opened_to accept
    ip6 daddr . meta l4proto . th dport @opened6 accept
    ip6 daddr . meta l4proto . th dport @opened6_ranges accept
    ip6 saddr . ip6 daddr . meta l4proto . th dport @opened6_to accept
    iifname . oifname @trusted accept
    drop
  }
}
"""

_INPUT_RULES_TABLES = f"""
table inet netd {{
  set asked_ports {{ type inet_proto . inet_service; }}
  set asked_ports_at {{ type ipv4_addr . inet_proto . inet_service; }}
  set asked_ranges {{ type inet_proto . inet_service; flags interval; }}
  set asked_ranges_at {{ type ipv4_addr . inet_proto . inet_service; flags interval; }}
  set asked_ports6 {{ type inet_proto . inet_service; }}
  set asked_ports6_at {{ type ipv6_addr . inet_proto . inet_service; }}
  set asked_ranges6 {{ type inet_proto . inet_service; flags interval; }}
  set asked_ranges6_at {{ type ipv6_addr . inet_proto . inet_service; flags interval; }}

  # Packets that the host's own rules accept: the priority is after theirs, and before the connection is confirmed.
  chain passed {{
    type filter hook input priority 2147483645; policy accept;
    iifname @bridges accept
    iifname "{ARRIVAL}" accept
    ct state != new accept
    fib daddr type != local accept
    ip6 saddr fe80::/10 accept
    meta nfproto ipv4 goto asked
    meta nfproto ipv6 goto asked6
  }}

  chain asked {{
    ip daddr . meta l4proto . th dport @asked_ports_at meta priority set 6e65:7464
    meta l4proto . th dport @asked_ports meta priority set 6e65:7464
    ip daddr . meta l4proto . th dport @asked_ranges_at meta priority set 6e65:7464
    meta l4proto . th dport @asked_ranges meta priority set 6e65:7464
  }}

  chain asked6 {{
    ip6 daddr . meta l4proto . th dport @asked_ports6_at meta priority set 6e65:7464
    meta l4proto . th dport @asked_ports6 meta priority set 6e65:7464
    ip6 daddr . meta l4proto . th dport @asked_ranges6_at meta priority set 6e65:7464
    meta l4proto . th dport @asked_ranges6 meta priority set 6e65:7464
  }}

  chain returning {{
    type filter hook prerouting priority -300; policy accept;
    iifname "{ARRIVAL}" meta mark & {RECIRCULATED:#x} == {RECIRCULATED:#x} meta priority set none
  }}

  chain returned {{
    type filter hook prerouting priority -99; policy accept;
    iifname "{ARRIVAL}" meta mark & {RECIRCULATED:#x} == {RECIRCULATED:#x} meta mark set meta mark xor {RECIRCULATED:#x}
  }}
}}

table ip netd {{
  chain passed {{
    type filter hook input priority 2147483646; policy accept;
    meta priority 6e65:7464 iifname != "{ARRIVAL}" meta mark set meta mark or {RECIRCULATED:#x} goto copied
  }}

  chain copied {{
    dup to {NEXT_HOP} device "{OUT}"
    drop
  }}
}}

table ip6 netd {{
  chain passed {{
    type filter hook input priority 2147483646; policy accept;
    meta priority 6e65:7464 iifname != "{ARRIVAL}" meta mark set meta mark or {RECIRCULATED:#x} goto copied
  }}

  chain copied {{
    dup to {NEXT_HOP6} device "{OUT}"
    drop
  }}
}}
"""

_BRIDGED = f"""
table {TABLE} {{
  # A packet that br_netfilter translates to another port of its bridge leaves by the bridge's egress barrier, without
  # the chains of a forwarded packet, while the host does not know the MAC of its destination.
  chain translated {{
    type filter hook prerouting priority -90; policy accept;
    iifname @bridges ct status dnat fib daddr . iif oif exists goto mark_packet
  }}
}}
"""
# On the segments of a network (nds*), packets are bridged only: connection tracking begins at the first bridge.
_UNTRACKED = 'iifname "nds*" notrack'
_UNMARKED = f"meta mark & {MARK:#x} == {MARK:#x} meta mark set meta mark xor {MARK:#x}"

_ADMITTED = f"""
table {TABLE} {{
  chain admitted {{
    type filter hook forward priority {FORWARD_PRIORITY + 1}; policy accept;
    iifname @bridges meta mark set meta mark or @bits@
    oifname @bridges meta mark set meta mark or @bits@
    @segments@
  }}
}}
"""

_FIRST = f"""iifname != "{ARRIVAL}" iifname != @bridges return
    iifname "{ARRIVAL}" meta mark & {RECIRCULATED:#x} != {RECIRCULATED:#x} return"""

ADD_MARKING = f"add rule {TABLE} marking oifname vmap @marked\n"
"""The command that adds the rule by which packets pass the egress barriers."""
LIST_MARKING = f"list chain {TABLE} marking\n"

MIRRORED_MAPS = ("ports", "ports_at", "ranges", "ranges_at", "ports6", "ports6_at", "ranges6", "ranges6_at")
"""The maps whose keys are also in sets named "asked_" plus their name, if the host's rules are respected."""


def skeleton(respect: bool, forward_mark: ForwardMark | None = None, *, bridged: bool = False) -> str:
    """Return the script that creates the tables.

    *respect* adds the chains that respect the host's own input rules; *forward_mark* the marking of admitted packets.
    With *bridged*, br_netfilter passes packets between ports of a bridge.
    """
    skeleton = _SKELETON.replace("@mark@", f"{MARK:#x}").replace("@first-forward@", str(FORWARD_PRIORITY))
    cleared = ""
    if forward_mark:
        bits = f"{forward_mark.bits:#x}"
        cleared = "" if forward_mark.kept else f"meta mark & {bits} == {bits} meta mark set meta mark xor {bits}"
        segments = f'iifname "nds*" meta mark set meta mark or {bits}' if bridged else ""
        skeleton += _ADMITTED.replace("@bits@", bits).replace("@segments@", segments)
    skeleton = skeleton.replace("@cleared@", cleared)
    for name, rule in (("@unmarked@", _UNMARKED), ("@untracked@", _UNTRACKED)):
        skeleton = skeleton.replace(name, rule) if bridged else skeleton.replace(f"    {name}\n", "")
    skeleton += _BRIDGED if bridged else ""
    if not respect:
        return skeleton.replace("    @first@\n", "")
    return skeleton.replace("@first@", _FIRST) + _INPUT_RULES_TABLES


def other_ports(first: int, last: int) -> str:
    """Return the commands that set the source ports of connections that cannot keep theirs."""
    ports = f"{first}-{last}"
    rules = (
        f"snat ip to iifname map @sources : {ports}",
        f"snat ip6 to iifname map @sources6 : {ports}",
        f"meta nfproto . iifname @masquerading masquerade to :{ports}",
    )
    transport = "meta l4proto { tcp, udp, sctp }"
    return f"flush chain {TABLE} other_port\n" + "".join(
        f"add rule {TABLE} other_port {transport} {rule}\n" for rule in rules
    )


def removal() -> str:
    """Return the script that deletes the tables, whether they exist or not."""
    return "".join(f"add table {table}\ndelete table {table}\n" for table in (TABLE, "ip netd", "ip6 netd"))
