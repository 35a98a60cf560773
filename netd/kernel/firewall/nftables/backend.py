"""The nftables table ``inet netd``, kept equal to the last ruleset.

libnftables makes the table as a whole; changes of elements, which most requests need, are messages of netd's own.

Owns that table, the tables ``ip netd`` and ``ip6 netd`` that respecting the host's input rules needs, and, through
``Forwarding``, IP forwarding of the host.  Must not change other tables or policies.
"""

from __future__ import annotations

import logging

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.firewall.nftables import script as scripts
from netd.kernel.firewall.nftables.element_socket import ElementSocket
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.firewall.nftables.script import TableChange
from netd.kernel.firewall.nftables.table import ADD_MARKING, FORWARD_PRIORITY, LIST_MARKING, removal
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.links import egress_barrier, recirculation
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import ForwardMark, Ruleset, RulesetChange

logger = logging.getLogger(__name__)


class Nftables:
    """Use it in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding, forward_mark: ForwardMark | None = None) -> None:
        self._nft = Nft()
        self._elements = ElementSocket()
        self._forwarding = forwarding
        self._forward_mark = forward_mark
        self._state = RulesetState()
        self._in_sync = False
        """Whether the table holds the state, as far as known from netd's own transactions."""
        self._bridge_filter: frozenset[Family] = frozenset()
        """br_netfilter's setting for which the table was last built."""
        self.forwards: frozenset[Family] = frozenset()
        """The families for which the last ruleset needs IP forwarding on the host."""

    def is_damaged(self) -> bool:
        """Compare br_netfilter's setting and the recirculation links; the kernel sends notifications for tables."""
        if self._in_sync and self._bridge_filter != sysctl.bridge_filter():
            return True
        return self._state.respect and not recirculation.is_complete()

    def close(self) -> None:
        self._nft.close()
        self._elements.close()

    @property
    def state(self) -> RulesetState:
        return self._state

    @property
    def mark_priority(self) -> int:
        return FORWARD_PRIORITY + 1

    def change(self, change: RulesetChange) -> None:
        """Apply *change* incrementally; on failure rebuild the table.

        If the rebuild fails too, the state stays as it was, and the next change rebuilds.
        """
        effective = self._state.effective(change)
        if not (self._in_sync and self._try(scripts.change(self._state, effective))):
            self._rebuild(_with_change(self._state, effective))
        self._state.apply(effective)
        self._enable_forwarding()

    def _try(self, changed: TableChange) -> bool:
        """Apply the change; return whether it succeeded."""
        try:
            if changed.nat_ports is not None:
                self._nft.run(scripts.text(changed))
            elif changed.removed or changed.added:
                self._elements.change(changed)
        except KernelRefused as problem:
            logger.warning("table is not as netd left it, rebuilding: firewall=nftables error=%s", problem.message)
            self._in_sync = False
        return self._in_sync

    def update(self, rules: Ruleset) -> None:
        """Apply the difference between the last ruleset and *rules*; on failure rebuild the table."""
        if rules.respect != self._state.respect:
            self.reset(rules)
        else:
            self.change(RulesetChange.between(self._state.ruleset(), rules))

    def reset(self, rules: Ruleset) -> None:
        """Rebuild the table in one transaction."""
        self._in_sync = False
        self._state, self.forwards = RulesetState(rules), frozenset()
        self._rebuild(rules)
        self._enable_forwarding()

    def remove(self) -> None:
        self._state, self._in_sync, self.forwards = RulesetState(), False, frozenset()
        self._nft.run(removal())
        recirculation.delete()
        self._forwarding.restore_recorded(recirculation.RP_FILTER)
        self._forwarding.restore()

    def _rebuild(self, rules: Ruleset) -> None:
        if rules.respect:
            self._forwarding.record(recirculation.RP_FILTER)
            recirculation.create()
        self._bridge_filter = sysctl.bridge_filter()
        script = scripts.rebuild(rules, bridge_filter=self._bridge_filter, forward_mark=self._forward_mark)
        if self._has_marking():
            self._nft.run(script + ADD_MARKING)
        else:
            self._nft.run(script)
            egress_barrier.wait_for_packets()
            self._nft.run(ADD_MARKING)
        if not rules.respect:
            recirculation.delete()
            self._forwarding.restore_recorded(recirculation.RP_FILTER)
        self._in_sync = True

    def _has_marking(self) -> bool:
        """Return whether the rule that marks packets for the egress barriers is in place."""
        try:
            return "vmap" in self._nft.run(LIST_MARKING)
        except KernelRefused:
            return False

    def _enable_forwarding(self) -> None:
        """Enable forwarding.  Must follow the rules: before them, forwarded packets would not be filtered."""
        # If another program disables it, the watch reports that, and the repair rebuilds the table.
        wanted = self._state.forwards
        self._forwarding.enable(wanted - self.forwards)
        self.forwards = wanted


def _with_change(state: RulesetState, effective: RulesetChange) -> Ruleset:
    changed = RulesetState(state.ruleset())
    changed.apply(effective)
    return changed.ruleset()
