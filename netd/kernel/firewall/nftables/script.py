"""Rulesets and their changes as nft scripts.

Pure.  The number of rules is fixed: the cost of a packet does not depend on how many ports are published.
"""

from __future__ import annotations

from collections.abc import Iterable

from netd.kernel.firewall.nftables.elements import Element, elements, of_ports_at, of_targets, parts
from netd.kernel.firewall.nftables.table import MIRRORED_MAPS, TABLE, other_ports, removal, skeleton
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.portmap import nat_ports
from netd.portmap.rules import ForwardMark, Ruleset, RulesetChange


def rebuild(wanted: Ruleset, *, bridges_filter_ipv6: bool = False, forward_mark: ForwardMark | None = None) -> str:
    """Return the script that replaces the whole table in one transaction.

    With *bridges_filter_ipv6*, published ports are not reachable at ::1.
    """
    unanswered = f"add element {TABLE} unanswered {{ ipv6 }}\n" if bridges_filter_ipv6 else ""
    table = f"{removal()}{skeleton(wanted.respect, forward_mark)}{unanswered}"
    table += other_ports(*nat_ports.choose(wanted.published))
    return table + _commands("add", elements(wanted).items(), wanted.respect)


def change(state: RulesetState, effective: RulesetChange) -> str:
    """Return the script for a change that is *effective* on *state*; empty if no element changes.

    The cost depends on the change alone, not on the number of published ports.
    """
    last, first = state.targets(effective)
    last_ports, first_ports = state.ports_at(effective)
    old = {**parts(effective.removed), **of_targets(last), **of_ports_at(last_ports)}
    new = {**parts(effective.added), **of_targets(first), **of_ports_at(first_ports)}
    removed = ((key, "") for key, value in old.items() if new.get(key) != value)
    added = ((key, value) for key, value in new.items() if old.get(key) != value)
    block = state.nat_ports_after(effective)
    moved = other_ports(*block) if block != state.nat_ports else ""
    return moved + _commands("delete", removed, state.respect) + _commands("add", added, state.respect)


def _commands(verb: str, items: Iterable[Element], respect: bool) -> str:
    by_set: dict[str, list[str]] = {}
    for (name, key), value in items:
        by_set.setdefault(name, []).append(f"{key} : {value}" if value else key)
        if respect and name in MIRRORED_MAPS:
            by_set.setdefault(f"asked_{name}", []).append(key)
    return "".join(f"{verb} element {TABLE} {name} {{ {', '.join(keys)} }}\n" for name, keys in by_set.items())
