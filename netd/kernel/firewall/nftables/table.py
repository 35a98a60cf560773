"""The table ``inet netd`` without its elements: fixed text, the same on every host but for one setting.

What is there is only ever said by elements of the sets and maps; see :mod:`netd.kernel.firewall.nftables.elements`.

Where the host's own input rules are respected, the first packet of a connection from outside to a published port is
not translated: it goes to the host's input as if for a program of the host, past everybody's rules.  Only what they let
through is seen by our last chain there.  It marks the packet by its priority (tables do not see each other's sets, and
``dup`` has to be in one of the packet's own family); the packet is copied into a link of ours whose other end is in
this host too, and dropped, before the connection is known.  The copy comes in as the connection's first packet and is
translated; the rest of the connection follows by the straight way.
"""

from netd.kernel.links.egress_barrier import MARK
from netd.kernel.links.recirculation import IN, NEXT_HOP, NEXT_HOP6, OUT

TABLE = "inet netd"

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
  set themselves { type ipv4_addr . ipv4_addr; }
  set themselves6 { type ipv6_addr . ipv6_addr; }

  set unanswered { type nf_proto; }
  set over_budget { type ipv4_addr; }
  set over_budget6 { type ipv6_addr; }

  map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ranges { type inet_proto . inet_service : ipv4_addr; flags interval; }
  map ranges_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; }
  set guarded { type ipv4_addr . inet_proto . inet_service; flags interval; }
  set allowed { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; }
  set opened { type ipv4_addr . inet_proto . inet_service; }
  set opened_ranges { type ipv4_addr . inet_proto . inet_service; flags interval; }
  set opened_to { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; }

  map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map ports6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  map ranges6 { type inet_proto . inet_service : ipv6_addr; flags interval; }
  map ranges6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr; flags interval; }
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

  # Whom a port was not published for gets no answer; those that are connected already do not come by here.
  chain arriving {
    ip daddr . meta l4proto . th dport @guarded ip saddr . ip daddr . meta l4proto . th dport != @allowed drop
    goto published
  }

  chain arriving6 {
    ip6 daddr . meta l4proto . th dport @guarded6 ip6 saddr . ip6 daddr . meta l4proto . th dport != @allowed6 drop
    goto published6
  }

  # route_localnet opens the host's 127.0.0.0/8 to what is on our bridges: shut it here.  The kernel itself
  # takes no packet from or to ::1 from any link.
  chain loopback {
    type filter hook prerouting priority -300; policy accept;
    ip daddr 127.0.0.0/8 iifname @bridges drop
    ip saddr 127.0.0.0/8 iifname @bridges drop
  }

  # Sources inside a network come by its bridge alone; by any other link they are forged, to be let in by --allow.  By a
  # network's further bridges br_netfilter shows what goes from port to port.
  chain spoofed {
    type filter hook prerouting priority -150; policy accept;
    ct state new goto beginning
  }

  # New connections of containers over their budget are dropped before they take an entry of connection tracking.
  chain beginning {
    ip saddr @over_budget drop
    ip6 saddr @over_budget6 drop
    ip6 saddr fe80::/10 accept
    iifname "nds*" accept
    iifname != @bridges fib saddr oifname @homes drop
  }

  # A neighbour that routes 127.0.0.1 to us must not reach what is published there.  What comes from an address of
  # its link alone cannot be led on to another link.
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    @first@
    ip daddr != 127.0.0.0/8 fib daddr type local goto arriving
    ip6 daddr != ::1 ip6 saddr != fe80::/10 fib daddr type local goto arriving6
  }

  # The host itself always may.  Where br_netfilter sees IPv6, it translates answers to ::1 before the kernel drops
  # what comes from a link to ::1: there, it is better refused at once.
  chain output {
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 fib daddr type local goto published
    ip6 daddr ::1 meta nfproto @unanswered return
    ip6 saddr != fe80::/10 fib daddr type local goto published6
  }

  # Clients keep their address, except where the answer would not come back this way: from the container's own
  # network and itself, from the loopback addresses, and from containers to the world.  Where br_netfilter translates
  # between a bridge's ports it shows no iifname here, and only a container to itself needs it.
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    iifname . oifname @within ct status dnat masquerade
    ip saddr . ip daddr @themselves ct status dnat masquerade
    ip6 saddr . ip6 daddr @themselves6 ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ip6 saddr ::1 oifname @bridges masquerade
    oifname != @bridges snat ip to iifname map @sources
    oifname != @bridges snat ip6 to iifname map @sources6
    meta nfproto . iifname @masquerading oifname != @bridges masquerade
  }

  # The barrier of a bridge passes only what is marked here, so it is closed while this table is gone.  The priority is
  # the last one, so that no rule of others sees the mark.  @marked is the first map of the table: a flush empties maps,
  # one after the other, before it removes rules and sets.
  chain mark_packet {
    meta mark set meta mark or @mark@
  }

  chain marking {
    type filter hook postrouting priority 2147483646; policy accept;
  }

  # Peers that never hear of a smaller MTU on the way would go on sending what does not come through.
  chain clamping {
    type filter hook forward priority -150; policy accept;
    iifname @bridges tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    oifname @bridges tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }

  # From a bridge comes only what would be answered by way of it: who is nobody yet has no address.  The gateways of
  # other networks do not answer pings.
  chain input {
    type filter hook input priority 0; policy accept;
    iifname @bridges icmp type echo-request ip daddr @subnets fib daddr . iif type != local drop
    iifname @bridges icmpv6 type echo-request ip6 daddr @subnets6 fib daddr . iif type != local drop
    iifname @bridges ip saddr != 0.0.0.0 fib saddr . iif oif missing drop
    iifname @bridges ip6 saddr != :: fib saddr . iif oif missing drop
  }

  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname . oifname @within goto among
    iifname @bridges fib saddr . iif oif missing drop
    meta nfproto . iifname vmap @leaving
    meta nfproto . oifname vmap @entering
  }

  # Within a network packets come by here only when published, or where br_netfilter shows them.
  chain among {
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

_RESPECTFUL = f"""
table inet netd {{
  set asked_ports {{ type inet_proto . inet_service; }}
  set asked_ports_at {{ type ipv4_addr . inet_proto . inet_service; }}
  set asked_ranges {{ type inet_proto . inet_service; flags interval; }}
  set asked_ranges_at {{ type ipv4_addr . inet_proto . inet_service; flags interval; }}
  set asked_ports6 {{ type inet_proto . inet_service; }}
  set asked_ports6_at {{ type ipv6_addr . inet_proto . inet_service; }}
  set asked_ranges6 {{ type inet_proto . inet_service; flags interval; }}
  set asked_ranges6_at {{ type ipv6_addr . inet_proto . inet_service; flags interval; }}

  # What the host's own rules let in is seen here: after all of them, and before the connection is confirmed.
  chain passed {{
    type filter hook input priority 2147483645; policy accept;
    iifname @bridges accept
    iifname {{ "lo", "{IN}" }} accept
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
    iifname "{IN}" meta priority set none
  }}
}}

table ip netd {{
  chain passed {{
    type filter hook input priority 2147483646; policy accept;
    meta priority 6e65:7464 iifname != "{IN}" dup to {NEXT_HOP} device "{OUT}" drop
  }}
}}

table ip6 netd {{
  chain passed {{
    type filter hook input priority 2147483646; policy accept;
    meta priority 6e65:7464 iifname != "{IN}" dup to {NEXT_HOP6} device "{OUT}" drop
  }}
}}
"""

MARKING = f"add rule {TABLE} marking oifname vmap @marked\n"
MARKED = f"list chain {TABLE} marking\n"
"""What lets packets pass the barriers, and what shows whether it is there."""

ASKED = ("ports", "ports_at", "ranges", "ranges_at", "ports6", "ports6_at", "ranges6", "ranges6_at")
"""The maps whose keys are in sets too, with "asked_" before their names, where the host's rules are respected."""


def skeleton(respect: bool) -> str:
    """Return the tables; *respect* is for the host's own input rules."""
    skeleton = _SKELETON.replace("@mark@", f"{MARK:#x}")
    if not respect:
        return skeleton.replace("    @first@\n", "")
    return skeleton.replace("@first@", f'iifname != "{IN}" iifname != @bridges return') + _RESPECTFUL


def removal() -> str:
    """Return the script that takes everything away, whether it is there or not."""
    return "".join(f"add table {one}\ndelete table {one}\n" for one in (TABLE, "ip netd", "ip6 netd"))
