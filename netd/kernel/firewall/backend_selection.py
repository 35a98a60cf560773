"""Which of the two firewalls is used, and the way from one to the other.

Owns no rules.  The one that is not used is asked to take away what is left of it, once the other holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.kernel.firewall.contract import Firewall
from netd.kernel.firewall.iptables import backend as iptables
from netd.kernel.firewall.iptables import dns_redirect as iptables_lead
from netd.kernel.firewall.iptables import table_info
from netd.kernel.firewall.iptables.layout import PREFIX
from netd.kernel.firewall.nftables import dns_redirect as nftables_lead
from netd.kernel.firewall.nftables.backend import Nftables
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.firewall.nftables.table import removal
from netd.kernel.namespaces.dns_sockets import Lead
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import Ruleset, RulesetChange

_log = logging.getLogger(__name__)
_PROBE = """
add table inet netd-probe
add chain inet netd-probe out { type nat hook output priority -100; }
add rule inet netd-probe out fib daddr type local dnat ip to 127.0.0.1
delete table inet netd-probe
"""
"""One transaction that leaves nothing, and that a kernel takes only with all that we need."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A firewall, and the way of the same kind to the resolvers inside sandboxes."""

    firewall: Firewall
    lead: Lead
    leads: Callable[[], bool]
    """Whether it is not the other kind that leads in the calling thread's namespace."""
    clear_other: Callable[[], None]
    """Takes the other kind's lead away in the calling thread's namespace."""


def choose(setting: str, forwarding: Forwarding) -> Choice:
    """Return the firewall that the setting names; with ``auto``, nftables where it works.

    Raises KernelRefused in one sentence when what was asked for cannot be used.
    """
    name, reason = _best() if setting == "auto" else (setting, "asked for")
    if name == "iptables":
        firewall = Successor(iptables.Iptables(forwarding), _forget_nftables)
        choice = Choice(firewall, iptables_lead.put, iptables_lead.is_there, nftables_lead.clear)
    else:
        firewall = Successor(Nftables(forwarding), _forget_iptables)
        choice = Choice(firewall, nftables_lead.put, lambda: not iptables_lead.is_there(), iptables_lead.clear)
    _log.info("firewall=%s reason=%s", name, reason)
    return choice


def _best() -> tuple[str, str]:
    try:
        with Nft() as nft:
            nft.run(_PROBE)
    except KernelRefused as problem:
        return "iptables", problem.message
    return "nftables", "works"


class Successor:
    """A firewall that, once it holds, has what is left of the other taken away."""

    def __init__(self, firewall: Firewall, forget: Callable[[], None]) -> None:
        self._firewall = firewall
        self._forget: Callable[[], None] | None = forget

    @property
    def forwards(self) -> frozenset[Family]:
        return self._firewall.forwards

    @property
    def look_every(self) -> float | None:
        return self._firewall.look_every

    def change(self, change: RulesetChange) -> None:
        self._firewall.change(change)
        self._succeed()

    def update(self, rules: Ruleset) -> None:
        self._firewall.update(rules)
        self._succeed()

    def reset(self, rules: Ruleset) -> None:
        self._firewall.reset(rules)
        self._succeed()

    def remove(self) -> None:
        self._firewall.remove()
        self._succeed()

    def damaged(self) -> bool:
        return self._firewall.damaged()

    def close(self) -> None:
        self._firewall.close()

    def _succeed(self) -> None:
        if self._forget is not None:
            forget, self._forget = self._forget, None
            forget()


def _forget_nftables() -> None:
    try:
        with Nft() as nft:
            nft.run(removal())
    except KernelRefused:
        pass  # A kernel without nftables has nothing of it.


def _forget_iptables() -> None:
    """Loads python-iptables only where there is something to take away."""
    try:
        if any(table_info.with_chain_prefix(family, PREFIX.encode()) for family in FAMILIES):
            iptables.remove()
    except (KernelRefused, OSError) as problem:
        _log.warning("firewall=nftables left-of-iptables=%s* reason=%s", PREFIX, problem)
