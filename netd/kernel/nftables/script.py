"""The firewall as nft scripts: the fixed table, and the elements of its sets and maps.

Pure: a :class:`Ruleset` becomes elements, two of them the script that leads from one to the other.  Rules never
grow: a packet costs the same however much is published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import TypeAlias

from netd.common.errors import BadRequest
from netd.portmap.rules import BridgeRules, Published, Ruleset

Elements: TypeAlias = dict[tuple[str, str], str]
"""From (set or map, key) to the value: "" in sets."""

TABLE = "inet netd"
_EVERY_ADDRESS = IPv4Address("0.0.0.0")
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_PROTOCOLS = ("tcp", "udp", "sctp")

SKELETON = """
table inet netd {
  set bridges { type ifname; }
  set internal { type ifname; }
  set isolated { type ifname; }
  set masquerading { type ifname; }
  set within { type ifname . ifname; }
  set themselves { type ipv4_addr . ipv4_addr; }

  map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ranges { type inet_proto . inet_service : ipv4_addr; flags interval; }
  map ranges_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; }

  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @ports_at
    dnat ip to meta l4proto . th dport map @ports
    dnat ip to ip daddr . meta l4proto . th dport map @ranges_at
    dnat ip to meta l4proto . th dport map @ranges
  }

  # route_localnet opens the host's 127.0.0.0/8 to what is on our bridges: shut it here.
  chain loopback {
    type filter hook prerouting priority -300; policy accept;
    ip daddr 127.0.0.0/8 iifname @bridges drop
    ip saddr 127.0.0.0/8 iifname @bridges drop
  }

  # A neighbour that routes 127.0.0.1 to us must not reach what is published there.
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local jump published
  }

  chain output {
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 fib daddr type local jump published
  }

  # Clients keep their address, except where the answer would not come back this way: from the container's own
  # network and itself, from 127.0.0.0/8, and from containers to the world.  Where br_netfilter translates
  # between a bridge's ports it shows no iifname here, and only a container to itself needs it.
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    iifname . oifname @within ct status dnat masquerade
    ip saddr . ip daddr @themselves ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    meta nfproto ipv4 iifname @masquerading oifname != @bridges masquerade
  }

  # Within a network packets come by here only when published, or where br_netfilter shows them.
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname . oifname @within iifname != @isolated accept
    iifname @internal drop
    oifname @internal drop
    oifname @bridges ct state established,related accept
    oifname @bridges ct status dnat accept
    oifname @bridges drop
  }
}
"""


def elements(rules: Ruleset) -> Elements:
    """Return everything the sets and maps should hold.  Raises BadRequest for what no script may contain."""
    found: Elements = {}
    for bridge in rules.bridges:
        found.update(_bridge(bridge))
    for published in rules.published:
        found.update(_published(published))
    found.update(_themselves(rules.published))
    return found


def _bridge(rules: BridgeRules) -> Iterator[tuple[tuple[str, str], str]]:
    if not _LINK.match(rules.name):
        raise BadRequest(f"bridge name {rules.name!r} is not made of up to 15 letters, digits, '_', '.' and '-'")
    name = f'"{rules.name}"'
    yield ("bridges", name), ""
    yield ("within", f"{name} . {name}"), ""
    for flag, members in (
        (rules.internal, "internal"),
        (rules.isolated, "isolated"),
        (_masquerades(rules), "masquerading"),
    ):
        if flag:
            yield (members, name), ""


def _masquerades(rules: BridgeRules) -> bool:
    return rules.ipv4 is not None and rules.ipv4.masquerade and not rules.internal


def _themselves(published: Iterable[Published]) -> Iterator[tuple[tuple[str, str], str]]:
    """One element for each container that publishes, however many ports."""
    for target in {rule.target for rule in published}:
        yield ("themselves", f"{target} . {target}"), ""


def _published(rule: Published) -> Iterator[tuple[tuple[str, str], str]]:
    if rule.protocol not in _PROTOCOLS:
        raise BadRequest(f"protocol {rule.protocol!r} cannot be published: use tcp, udp or sctp")
    every = rule.address == _EVERY_ADDRESS
    suffix, prefix = ("", "") if every else ("_at", f"{rule.address} . ")
    key = f"{prefix}{rule.protocol} . "
    if rule.count > 1 and rule.port == rule.target_port:
        yield ("ranges" + suffix, f"{key}{rule.port}-{rule.port + rule.count - 1}"), str(rule.target)
        return
    for step in range(rule.count):
        yield ("ports" + suffix, f"{key}{rule.port + step}"), f"{rule.target} . {rule.target_port + step}"


def rebuild(wanted: Ruleset) -> str:
    """Return the script that makes the whole table, whatever is there now, with no moment in between."""
    return f"add table {TABLE}\ndelete table {TABLE}\n{SKELETON}{_commands('add', elements(wanted).items())}"


def change(had: Ruleset, wanted: Ruleset) -> str:
    """Return the script from *had* to *wanted*; empty when they are the same.

    What both have is not expanded: publishing one port costs the same beside sixteen thousand.
    """
    old = elements(_without(had, wanted))
    new = elements(_without(wanted, had))
    if had.published - wanted.published:
        new.update(_themselves(wanted.published))
        old.update(_themselves(had.published))
    gone = ((key, "") for key, value in old.items() if new.get(key) != value)
    come = ((key, value) for key, value in new.items() if old.get(key) != value)
    return _commands("delete", gone) + _commands("add", come)


def _without(rules: Ruleset, others: Ruleset) -> Ruleset:
    return Ruleset(rules.bridges - others.bridges, rules.published - others.published)


def _commands(verb: str, items: Iterable[tuple[tuple[str, str], str]]) -> str:
    by_set: dict[str, list[str]] = {}
    for (name, key), value in items:
        by_set.setdefault(name, []).append(f"{key} : {value}" if value else key)
    return "".join(f"{verb} element {TABLE} {name} {{ {', '.join(keys)} }}\n" for name, keys in by_set.items())
