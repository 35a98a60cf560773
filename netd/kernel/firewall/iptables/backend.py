"""The legacy tables of iptables: netd's chains in them, kept equal to the last ruleset.

Owns those chains and, through ``Forwarding``, IP forwarding of the host.  Must not change other chains or policies.
"""

from __future__ import annotations

from contextlib import suppress

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.firewall.iptables import iptc_loader, table_info, tables
from netd.kernel.firewall.iptables.layout import MARKING, PREFIX, TABLES, BridgeFilter, Content, layout
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.links import egress_barrier, recirculation
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import Ruleset, RulesetChange

_POLL_INTERVAL = 0.5
"""Seconds; a comparison of the tables' sizes takes some tens of microseconds."""
_BRIDGES_FILTER_IPV6 = "net/bridge/bridge-nf-call-ip6tables"


class Iptables:
    """Use it in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding) -> None:
        iptc_loader.load()
        self._forwarding = forwarding
        self._state = RulesetState()
        self._written: dict[tuple[Family, str], Content] = {}
        """The content of the tables that netd last wrote; tables with unknown content are absent."""
        self._recirculates: bool | None = None
        """Whether the recirculation links exist; None if unknown."""
        self._sizes: dict[tuple[Family, str], table_info.Size] = {}
        self.forwards: frozenset[Family] = frozenset()
        """The families for which the last ruleset needs IP forwarding on the host."""

    @property
    def poll_interval(self) -> float:
        """The kernel sends no notification for legacy tables."""
        return _POLL_INTERVAL

    def close(self) -> None: ...

    def change(self, change: RulesetChange) -> None:
        """Write each table whose content changes, as a whole and in one transaction.

        If the kernel refuses a table, those written before it are restored.
        """
        effective = self._state.effective(change)
        if self._written and not (effective.removed or effective.added):
            return
        self._state.apply(effective)
        try:
            self._write()
        except KernelRefused:
            self._state.apply(RulesetChange(effective.added, effective.removed))
            with suppress(KernelRefused):
                self._write()
            raise

    def update(self, rules: Ruleset) -> None:
        self._state = RulesetState(rules)
        self._write()

    def reset(self, rules: Ruleset) -> None:
        self._written, self._recirculates = {}, None
        self.update(rules)

    def remove(self) -> None:
        self._state, self._written, self.forwards = RulesetState(), {}, frozenset()
        self._recirculates = None
        remove()
        recirculation.delete()
        self._forwarding.restore()

    def is_damaged(self) -> bool:
        """Return whether another program changed netd's chains since the last write or check.

        Reads a table only if its size has changed.
        """
        sizes = {key: table_info.size(*key) for key in self._written}
        changed = [key for key, size in sizes.items() if size != self._sizes.get(key)]
        self._sizes = sizes
        return any(not tables.match(*key, self._written[key]) for key in changed)

    def _write(self) -> None:
        setting = sysctl.read_optional(_BRIDGES_FILTER_IPV6)
        bridge_filter = BridgeFilter(present=bool(setting), ipv6=setting == "1")
        rules = self._state.ruleset()
        if rules.respect and not self._recirculates:
            recirculation.create()
        for family in FAMILIES:
            for table, content in layout(rules, family, bridge_filter).items():
                self._write_table(family, table, content)
        if not rules.respect and self._recirculates is not False:
            recirculation.delete()
        self._recirculates = rules.respect
        self.forwards = rules.forwards
        self._forwarding.enable(self.forwards)

    def _write_table(self, family: Family, table: str, content: Content) -> None:
        key = family, table
        if not content.chains and table not in table_info.existing(family):
            return
        if self._written.get(key) == content and table_info.size(family, table) == self._sizes.get(key):
            return
        self._written.pop(key, None)
        if table == MARKING[0] and content.chains and not _has_marking(family, table):
            tables.write(family, table, Content({**content.chains, PREFIX + MARKING[1]: []}))
            egress_barrier.wait_for_packets()
        tables.write(family, table, content)
        self._written[key] = content
        self._sizes[key] = table_info.size(family, table)


def _has_marking(family: Family, table: str) -> bool:
    return table in table_info.existing(family) and tables.has_marking(family)


def remove() -> None:
    """Delete netd's chains from the existing tables; other chains stay."""
    for family in FAMILIES:
        for table in (table for table in reversed(TABLES) if table in table_info.existing(family)):
            tables.write(family, table, Content())
