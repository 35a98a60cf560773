"""Rulesets as nft scripts, and changes of rulesets as elements that are removed and added.

Pure.  The number of rules is fixed: the cost of a packet does not depend on how many ports are published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from netd.common.addresses import Family
from netd.kernel.firewall.nftables.elements import Element, elements, of_ports_at, parts
from netd.kernel.firewall.nftables.table import MIRRORED_MAPS, TABLE, other_ports, removal, skeleton
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.portmap import nat_ports
from netd.portmap.rules import ForwardMark, Ruleset, RulesetChange

BySet: TypeAlias = Mapping[str, list[Element]]
"""Elements by the name of their set or map."""


@dataclass(frozen=True, slots=True)
class TableChange:
    removed: BySet
    added: BySet
    nat_ports: nat_ports.Block | None = None
    """The source ports of connections that cannot keep theirs, if they change: they are in rules, not in elements."""


def rebuild(wanted: Ruleset, *, bridge_filter: Collection[Family] = (), forward_mark: ForwardMark | None = None) -> str:
    """Return the script that replaces the whole table in one transaction.

    *bridge_filter* are the families whose packets between ports of a bridge br_netfilter passes to the rules.  With
    IPv6 among them, published ports are not reachable at ::1.
    """
    unanswered = f"add element {TABLE} unanswered {{ ipv6 }}\n" if 6 in bridge_filter else ""
    table = f"{removal()}{skeleton(wanted.respect, forward_mark, bridged=bool(bridge_filter))}{unanswered}"
    table += other_ports(*nat_ports.choose(wanted.published))
    return table + _commands("add", _by_set(elements(wanted).items(), wanted.respect))


def change(state: RulesetState, effective: RulesetChange) -> TableChange:
    """Return what a change that is *effective* on *state* changes in the table.

    The cost depends on the change alone, not on the number of published ports.
    """
    last_ports, first_ports = state.ports_at(effective)
    old = {**parts(effective.removed), **of_ports_at(last_ports)}
    new = {**parts(effective.added), **of_ports_at(first_ports)}
    removed = ((key, "") for key, value in old.items() if new.get(key) != value)
    added = ((key, value) for key, value in new.items() if old.get(key) != value)
    block = state.nat_ports_after(effective)
    return TableChange(
        _by_set(removed, state.respect),
        _by_set(added, state.respect),
        block if block != state.nat_ports else None,
    )


def text(changed: TableChange) -> str:
    """Return the script of a change; empty if nothing changes."""
    moved = other_ports(*changed.nat_ports) if changed.nat_ports else ""
    return moved + _commands("delete", changed.removed) + _commands("add", changed.added)


def _by_set(items: Iterable[Element], respect: bool) -> BySet:
    found: dict[str, list[Element]] = {}
    for element in items:
        (name, key), _ = element
        found.setdefault(name, []).append(element)
        if respect and name in MIRRORED_MAPS:
            mirror = f"asked_{name}"
            found.setdefault(mirror, []).append(((mirror, key), ""))
    return found


def _commands(verb: str, by_set: BySet) -> str:
    return "".join(
        f"{verb} element {TABLE} {name} {{ {', '.join(map(_text, items))} }}\n" for name, items in by_set.items()
    )


def _text(element: Element) -> str:
    (_, key), value = element
    return f"{key} : {value}" if value else key
