"""The firewall as nft scripts: the whole table, and what a change does to it.

Pure.  Rules never grow: a packet costs the same however much is published.
"""

from __future__ import annotations

from collections.abc import Iterable

from netd.kernel.firewall.nftables.elements import Element, elements, of_targets, parts
from netd.kernel.firewall.nftables.table import ASKED, TABLE, removal, skeleton
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.portmap.rules import Ruleset, RulesetChange


def rebuild(wanted: Ruleset, *, bridges_filter_ipv6: bool = False) -> str:
    """Return the script that makes the whole table, whatever is there now, with no moment in between.

    Where *bridges_filter_ipv6*, what is published is not to be reached by ::1.
    """
    unanswered = f"add element {TABLE} unanswered {{ ipv6 }}\n" if bridges_filter_ipv6 else ""
    made = f"{removal()}{skeleton(wanted.respect)}{unanswered}"
    return made + _commands("add", elements(wanted).items(), wanted.respect)


def change(held: RulesetState, real: RulesetChange) -> str:
    """Return the script for a change that is *real* to what is *held*; empty when nothing changes.

    What stays is not looked at: publishing one port costs the same beside sixteen thousand.
    """
    last, first = held.targets(real)
    old = {**parts(real.removed), **of_targets(last)}
    new = {**parts(real.added), **of_targets(first)}
    gone = ((key, "") for key, value in old.items() if new.get(key) != value)
    come = ((key, value) for key, value in new.items() if old.get(key) != value)
    return _commands("delete", gone, held.respect) + _commands("add", come, held.respect)


def _commands(verb: str, items: Iterable[Element], respect: bool) -> str:
    by_set: dict[str, list[str]] = {}
    for (name, key), value in items:
        by_set.setdefault(name, []).append(f"{key} : {value}" if value else key)
        if respect and name in ASKED:
            by_set.setdefault(f"asked_{name}", []).append(key)
    return "".join(f"{verb} element {TABLE} {name} {{ {', '.join(keys)} }}\n" for name, keys in by_set.items())
