"""The nftables table ``inet netd``: kept equal to the ruleset last published.

Owns the table, those named ``netd`` of ip and ip6 that it needs to respect the host's input rules, and, by way of
``Forwarding``, whether the host forwards; no other table is ever touched, nor a policy of the host's.
"""

from __future__ import annotations

import logging

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.firewall.nftables import script as scripts
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.firewall.nftables.table import MARKED, MARKING, removal
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.links import egress_barrier, recirculation
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import Ruleset, RulesetChange

logger = logging.getLogger(__name__)
_LOOK = 2.0
_BRIDGES_FILTER_IPV6 = "net/bridge/bridge-nf-call-ip6tables"


class Nftables:
    """To be used in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._nft = Nft()
        self._forwarding = forwarding
        self._held = RulesetState()
        self._known = False
        """Whether the table holds what is held, by our last word."""
        self.forwards: frozenset[Family] = frozenset()
        """The families whose packets the host has to forward for what was published last."""

    @property
    def look_every(self) -> float | None:
        """The kernel tells of every change of the tables, but nobody listens to what becomes of the detour's links."""
        return _LOOK if self._held.respect else None

    def damaged(self) -> bool:
        return self._held.respect and not recirculation.is_open()

    def close(self) -> None:
        self._nft.close()

    def change(self, change: RulesetChange) -> None:
        """Bring the table on by *change*; where that does not fit what is there, by building it anew.

        When that fails too, what is held stays, and the next change builds anew.
        """
        real = self._held.real(change)
        script = scripts.change(self._held, real)
        if not (self._known and self._fits(script)):
            self._rebuild(_after(self._held, real))
        self._held.turn(real)
        self._forward()

    def _fits(self, script: str) -> bool:
        try:
            if script:
                self._nft.run(script)
        except KernelRefused as problem:
            logger.warning("firewall=not-as-left action=rebuild reason=%s", problem.message)
            self._known = False
        return self._known

    def update(self, rules: Ruleset) -> None:
        """Bring the table to *rules* by the difference; where that does not fit what is there, by building it anew."""
        if rules.respect != self._held.respect:
            self.reset(rules)
        else:
            self.change(RulesetChange.between(self._held.ruleset(), rules))

    def reset(self, rules: Ruleset) -> None:
        """Build the table anew in one transaction."""
        self._known = False
        self._held = RulesetState(rules)
        self._rebuild(rules)
        self._forward()

    def remove(self) -> None:
        self._held, self._known, self.forwards = RulesetState(), False, frozenset()
        self._nft.run(removal())
        recirculation.close_detour()
        self._forwarding.restore()

    def _rebuild(self, rules: Ruleset) -> None:
        if rules.respect:
            recirculation.open_detour()
        filtered = sysctl.read_optional(_BRIDGES_FILTER_IPV6) == "1"
        script = scripts.rebuild(rules, bridges_filter_ipv6=filtered)
        if self._marks():
            self._nft.run(script + MARKING)
        else:
            self._nft.run(script)
            egress_barrier.wait_for_packets()
            self._nft.run(MARKING)
        if not rules.respect:
            recirculation.close_detour()
        self._known = True

    def _marks(self) -> bool:
        """Tell whether packets pass the barriers now."""
        try:
            return "vmap" in self._nft.run(MARKED)
        except KernelRefused:
            return False

    def _forward(self) -> None:
        """Only now that the table is there may the host forward."""
        self.forwards = self._held.forwards
        self._forwarding.enable(self.forwards)


def _after(held: RulesetState, real: RulesetChange) -> Ruleset:
    there = RulesetState(held.ruleset())
    there.turn(real)
    return there.ruleset()
