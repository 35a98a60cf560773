"""The table ``inet netd`` without its elements: fixed text, the same on every host.

What is there is only ever said by elements of the sets and maps; see :mod:`netd.kernel.nftables.elements`.
"""

TABLE = "inet netd"

SKELETON = """
table inet netd {
  set bridges { type ifname; }
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

  # A neighbour that routes 127.0.0.1 to us must not reach what is published there.  What comes from an address of
  # its link alone cannot be led on to another link.
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
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

  # Peers that never hear of a smaller MTU on the way would go on sending what does not come through.
  chain clamping {
    type filter hook forward priority -150; policy accept;
    iifname @bridges tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    oifname @bridges tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }

  # From a bridge comes only what would be answered by way of it: who is nobody yet has no address.
  chain input {
    type filter hook input priority 0; policy accept;
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
