"""The legacy tables of iptables: our chains in them kept equal to the ruleset last published.

Owns those chains and, by way of ``Forwarding``, whether the host forwards; no policy of the host's is touched.
"""

from __future__ import annotations

from contextlib import suppress

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.firewall.iptables import iptc_loader, table_info, tables
from netd.kernel.firewall.iptables.layout import MARKING, PREFIX, TABLES, Bridged, Content, layout
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.links import egress_barrier
from netd.kernel.links.recirculation import close_detour, open_detour
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import Ruleset, RulesetChange

_LOOK = 0.5
"""Seconds; a look takes some tens of microseconds."""
_BRIDGES_FILTER_IPV6 = "net/bridge/bridge-nf-call-ip6tables"


class Iptables:
    """To be used in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding) -> None:
        iptc_loader.load()
        self._forwarding = forwarding
        self._held = RulesetState()
        self._written: dict[tuple[Family, str], Content] = {}
        """What the tables hold by our last word; without those of which it is not known."""
        self._respects: bool | None = None
        """Whether the detour is there; None when it is not known."""
        self._sizes: dict[tuple[Family, str], table_info.Size] = {}
        self.forwards: frozenset[Family] = frozenset()
        """The families whose packets the host has to forward for what was published last."""

    @property
    def look_every(self) -> float:
        """The kernel tells nobody of changes to legacy tables."""
        return _LOOK

    def close(self) -> None: ...

    def change(self, change: RulesetChange) -> None:
        """Write the tables of which anything changes, each whole and in one transaction.

        When one is refused, those that were written before it are put back.
        """
        real = self._held.real(change)
        if self._written and not (real.removed or real.added):
            return
        self._held.turn(real)
        try:
            self._write()
        except KernelRefused:
            self._held.turn(RulesetChange(real.added, real.removed))
            with suppress(KernelRefused):
                self._write()
            raise

    def update(self, rules: Ruleset) -> None:
        self._held = RulesetState(rules)
        self._write()

    def reset(self, rules: Ruleset) -> None:
        self._written, self._respects = {}, None
        self.update(rules)

    def remove(self) -> None:
        self._held, self._written, self.forwards = RulesetState(), {}, frozenset()
        self._respects = None
        remove()
        close_detour()
        self._forwarding.restore()

    def damaged(self) -> bool:
        """Tell whether others changed the tables since we last wrote or looked; compares their sizes at first."""
        seen = {key: table_info.size(*key) for key in self._written}
        changed = [key for key, size in seen.items() if size != self._sizes.get(key)]
        self._sizes = seen
        return any(not tables.match(*key, self._written[key]) for key in changed)

    def _write(self) -> None:
        seen = sysctl.read_optional(_BRIDGES_FILTER_IPV6)
        bridged = Bridged(present=bool(seen), ipv6=seen == "1")
        rules = self._held.ruleset()
        if rules.respect and not self._respects:
            open_detour()
        for family in FAMILIES:
            for table, content in layout(rules, family, bridged).items():
                self._bring(family, table, content)
        if not rules.respect and self._respects is not False:
            close_detour()
        self._respects = rules.respect
        self.forwards = rules.forwards
        self._forwarding.enable(self.forwards)

    def _bring(self, family: Family, table: str, content: Content) -> None:
        key = family, table
        if not content.chains and table not in table_info.existing(family):
            return
        if self._written.get(key) == content and table_info.size(family, table) == self._sizes.get(key):
            return
        self._written.pop(key, None)
        if (
            table == MARKING[0]
            and content.chains
            and not (table in table_info.existing(family) and tables.has_marking(family))
        ):
            tables.write(family, table, Content({**content.chains, PREFIX + MARKING[1]: []}))
            egress_barrier.wait_for_packets()
        tables.write(family, table, content)
        self._written[key] = content
        self._sizes[key] = table_info.size(family, table)


def remove() -> None:
    """Take our chains out of the tables that there are; what others have in them stays."""
    for family in FAMILIES:
        for table in (one for one in reversed(TABLES) if one in table_info.existing(family)):
            tables.write(family, table, Content())
