"""What keeps the host's packet filter equal to a ruleset, as a protocol, and which implementation is used.

Both implementations own only what they make: the nftables backend its table, the iptables backend its chains.  Neither
changes a policy of the host's.
"""

from __future__ import annotations

from typing import Protocol

from netd.common.addresses import Family
from netd.portmap.rules import Ruleset, RulesetChange


class Firewall(Protocol):
    """To be used in one thread, whose network namespace is the host."""

    @property
    def forwards(self) -> frozenset[Family]:
        """The families whose packets the host has to forward for what was published last."""

    def change(self, change: RulesetChange) -> None:
        """Bring the kernel from what it was last told to what that becomes by *change*; build it anew where that fails.

        Costs what the change is, not what is there.  What is gone already, or there already, changes nothing.
        """

    def update(self, rules: Ruleset) -> None:
        """Bring the kernel to *rules* by the difference to what was published last; build it anew where that fails."""

    def reset(self, rules: Ruleset) -> None:
        """Build everything anew, whatever is there now."""

    def remove(self) -> None:
        """Take away all that is ours."""

    @property
    def look_every(self) -> float | None:
        """Seconds after which to ask whether it was damaged; None when the kernel tells of every change."""

    def damaged(self) -> bool:
        """Tell whether others changed what is ours, where the kernel does not tell of it."""

    def close(self) -> None: ...
