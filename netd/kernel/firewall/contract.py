"""The protocol of both firewall backends.

A backend owns only its own objects: the nftables backend its tables, the iptables backend its chains.  It must not
change a policy of a built-in chain.
"""

from __future__ import annotations

from typing import Protocol

from netd.common.addresses import Family
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.portmap.rules import Ruleset, RulesetChange


class Firewall(Protocol):
    """Use it in one thread, whose network namespace is the host."""

    @property
    def forwards(self) -> frozenset[Family]:
        """The families for which the last ruleset needs IP forwarding on the host."""

    @property
    def state(self) -> RulesetState:
        """The last ruleset."""

    @property
    def mark_priority(self) -> int:
        """The priority at the forward hook at which admitted packets get the mark; later chains can match it."""

    def change(self, change: RulesetChange) -> None:
        """Apply *change* to the last ruleset, which stays the last one if this raises KernelRefused.

        Removals of absent rules and additions of present rules have no effect.  With nftables the cost depends on the
        change, not on the ruleset; the iptables backend writes whole tables.
        """

    def update(self, rules: Ruleset) -> None:
        """Apply the difference between the last ruleset and *rules*."""

    def reset(self, rules: Ruleset) -> None:
        """Rebuild the ruleset, whatever the kernel holds now."""

    def remove(self) -> None:
        """Delete all objects of the backend."""

    def is_damaged(self) -> bool:
        """Return whether the rules differ from what they must be, through a change without notification.

        Called twice a second.
        """

    def close(self) -> None: ...
