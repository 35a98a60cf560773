"""The legacy tables of iptables: netd's chains in them, kept equal to the last ruleset.

Owns those chains and, through ``Forwarding``, IP forwarding of the host.  Must not change other chains or policies.
"""

from __future__ import annotations

import errno
import logging
import time
from contextlib import suppress

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.firewall.iptables import iptc_loader, table_info, tables
from netd.kernel.firewall.iptables.layout import MARKING, PREFIX, TABLES, Content, layout
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.links import egress_barrier, recirculation
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import ForwardMark, Ruleset, RulesetChange

_log = logging.getLogger(__name__)
_MANGLE_PRIORITY = -150
"""NF_IP_PRI_MANGLE of linux/netfilter_ipv4.h."""
_REST = 50
"""Seconds between two comparisons of all rules per second that the previous comparison took: half a millisecond for 100
rules.  A comparison of the tables' sizes takes some tens of microseconds."""
_REMINDER = 5.0
"""Seconds after which damage that was not repaired is reported again."""
_KEPT = "chain kept empty, delete the rule that refers to it: firewall=iptables rule=%s"


class Iptables:
    """Use it in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding, forward_mark: ForwardMark | None = None) -> None:
        iptc_loader.load()
        self._forwarding = forwarding
        self._forward_mark = forward_mark
        self._state = RulesetState()
        self._written: dict[tuple[Family, str], Content] = {}
        """The content of the tables that netd last wrote; tables with unknown content are absent."""
        self._recirculates: bool | None = None
        """Whether the recirculation links exist; None if unknown."""
        self._sizes: dict[tuple[Family, str], table_info.Size] = {}
        """The sizes of the tables when their rules were last equal to those that netd wrote."""
        self._look = Look()
        self._referring: dict[tuple[Family, str], list[str]] = {}
        """Rules of other programs that prevent the deletion of chains, by table."""
        self._bridge_filter: frozenset[Family] = frozenset()
        """br_netfilter's setting for which the tables were last written."""
        self.forwards: frozenset[Family] = frozenset()
        """The families for which the last ruleset needs IP forwarding on the host."""

    def close(self) -> None: ...

    @property
    def state(self) -> RulesetState:
        return self._state

    @property
    def mark_priority(self) -> int:
        return _MANGLE_PRIORITY

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
        self._forwarding.restore_recorded(recirculation.RP_FILTER)
        self._forwarding.restore()

    def is_damaged(self) -> bool:
        """Return whether netd's chains differ from those that netd wrote; for the same damage again after a pause.

        Compares the rules of tables whose size has changed, and those of all tables as often as their size permits.
        A table that cannot be read now is compared at the next call.
        """
        if self._written and self._bridge_filter != sysctl.bridge_filter():
            return True
        began = time.monotonic()
        all_due = began >= self._look.due
        damaged = False
        for key, content in self._written.items():
            try:
                size = table_info.size(*key)
                if (all_due or size != self._sizes.get(key)) and not self._matches(key, content, size):
                    damaged = True
            except OSError as problem:
                damaged = damaged or problem.errno == errno.ENOENT
                self._look.note_failure(problem)
        return self._look.result(damaged, began, all_due=all_due)

    def _matches(self, key: tuple[Family, str], content: Content, size: table_info.Size) -> bool:
        matches = tables.match(*key, content)
        if matches:
            self._sizes[key] = size
        else:
            self._sizes.pop(key, None)
        return matches

    def _write(self) -> None:
        self._bridge_filter = sysctl.bridge_filter()
        rules = self._state.ruleset()
        if rules.respect and not self._recirculates:
            self._forwarding.record(recirculation.RP_FILTER)
            recirculation.create()
        for family in FAMILIES:
            bridged = family in self._bridge_filter
            for table, content in layout(rules, family, self._forward_mark, bridged=bridged).items():
                self._write_table(family, table, content)
        if not rules.respect and self._recirculates is not False:
            recirculation.delete()
            self._forwarding.restore_recorded(recirculation.RP_FILTER)
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
        self._report(key, tables.write(family, table, content))
        self._written[key] = content
        self._sizes[key] = table_info.size(family, table)
        self._look.forget()

    def _report(self, key: tuple[Family, str], referring: list[str]) -> None:
        """Log rules of other programs that prevent the deletion of chains, once."""
        for rule in set(referring) - set(self._referring.get(key, ())):
            _log.warning(_KEPT, rule)
        self._referring[key] = referring


class Look:
    """When the rules of all tables are compared again, and which damage is reported."""

    def __init__(self) -> None:
        self.due = 0.0
        self._reported: float | None = None
        """When damage was last reported; None if no damage was found since netd's last change."""
        self._failure = ""

    def forget(self) -> None:
        """Note that netd has written its rules."""
        self._reported = None

    def note_failure(self, problem: OSError) -> None:
        """Log that a table could not be read, once for each reason."""
        if self._failure != str(problem):
            _log.warning("rules not compared, will be retried: firewall=iptables error=%s", problem)
        self._failure = str(problem)

    def result(self, damaged: bool, began: float, *, all_due: bool) -> bool:
        now = time.monotonic()
        if all_due:
            self.due = now + _REST * (now - began)
        if not damaged:
            self._reported = None
            return False
        if self._reported is not None and now < self._reported + _REMINDER:
            return False
        self._reported = now
        return True


def _has_marking(family: Family, table: str) -> bool:
    return table in table_info.existing(family) and tables.has_marking(family)


def remove(*, wait: bool = True) -> None:
    """Delete netd's chains from the existing tables; other chains stay.

    With *wait*, waits some seconds for programs that hold the lock.  Raises KernelRefused.
    """
    for family in FAMILIES:
        for table in (table for table in reversed(TABLES) if table in table_info.existing(family)):
            for rule in tables.write(family, table, Content(), wait=wait):
                _log.warning(_KEPT, rule)
