"""The nftables table ``inet netd``: kept equal to the ruleset last published.

Owns the table and, by way of ``Forwarding``, whether the host forwards; no other table is ever touched, nor a policy
of the host's.
"""

from __future__ import annotations

import logging

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel import sysctl
from netd.kernel.nft import Nft
from netd.kernel.nftables import script as scripts
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import Ruleset

logger = logging.getLogger(__name__)
_BRIDGES_FILTER_IPV6 = "net/bridge/bridge-nf-call-ip6tables"


class Nftables:
    """To be used in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._nft = Nft()
        self._forwarding = forwarding
        self._held: Ruleset | None = None
        """What the table holds by our last word; None when it is not known."""
        self.forwards: frozenset[Family] = frozenset()
        """The families whose packets the host has to forward for what was published last."""

    def close(self) -> None:
        self._nft.close()

    def publish(self, rules: Ruleset) -> None:
        """Bring the table to *rules* by the difference; where that does not fit what is there, by building it anew."""
        if self._held is None:
            self.reset(rules)
        elif script := scripts.change(self._held, rules):
            try:
                self._nft.run(script)
            except KernelRefused as problem:
                logger.warning("firewall=not-as-left action=rebuild reason=%s", problem.message)
                self.reset(rules)
        self._holds(rules)

    def reset(self, rules: Ruleset) -> None:
        """Build the table anew in one transaction."""
        self._held = None
        filtered = sysctl.read_optional(_BRIDGES_FILTER_IPV6) == "1"
        self._nft.run(scripts.rebuild(rules, bridges_filter_ipv6=filtered))
        self._holds(rules)

    def remove(self) -> None:
        self._held, self.forwards = None, frozenset()
        self._nft.run(scripts.removal())
        self._forwarding.restore()

    def _holds(self, rules: Ruleset) -> None:
        """Only now that the table is there may the host forward."""
        self._held = rules
        self.forwards = rules.forwards
        self._forwarding.enable(self.forwards)
