"""Selection of the firewall backend, and removal of the other backend's objects.

Owns no rules.  The other backend's objects are deleted after the selected backend has applied a ruleset, so that the
host is not without rules in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.host_protocol import Dropped
from netd.kernel.firewall.contract import Firewall
from netd.kernel.firewall.forwarding.host_forward import HostForward
from netd.kernel.firewall.iptables import backend as iptables
from netd.kernel.firewall.iptables import dns_redirect as iptables_redirect
from netd.kernel.firewall.iptables import table_info
from netd.kernel.firewall.iptables.layout import PREFIX
from netd.kernel.firewall.nftables import dns_redirect as nftables_redirect
from netd.kernel.firewall.nftables import netd_tables
from netd.kernel.firewall.nftables.backend import Nftables
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.firewall.nftables.table import removal
from netd.kernel.firewall.ruleset_state import RulesetState
from netd.kernel.namespaces.dns_sockets import RedirectDns
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import ForwardPolicy, Ruleset, RulesetChange

_log = logging.getLogger(__name__)
_PROBE = """
add table inet netd-probe
add chain inet netd-probe out { type nat hook output priority -100; }
add rule inet netd-probe out fib daddr type local dnat ip to 127.0.0.1
delete table inet netd-probe
"""
"""A transaction without effect that fails if the kernel lacks a feature that the nftables backend needs."""


@dataclass(frozen=True, slots=True)
class BackendSelection:
    """A firewall, and the functions of the same backend for DNS redirects inside sandboxes."""

    firewall: SelectedFirewall
    redirect_dns: RedirectDns
    has_dns_redirect: Callable[[], bool]
    """Returns whether the selected backend, and not the other, redirects DNS in the calling thread's namespace.

    With nftables, that is assumed if the iptables backend does not redirect it there.
    """
    upgrade_redirect: Callable[[], None]
    """Replaces a DNS redirect that an earlier version of netd made with the same backend."""
    delete_other_redirect: Callable[[], None]
    """Deletes the other backend's DNS redirect in the calling thread's namespace."""


def select(setting: str, forwarding: Forwarding, host_forward: ForwardPolicy) -> BackendSelection:
    """Return the backend that the setting names; with ``auto``, nftables if it works, else iptables.

    Raises KernelRefused if the selected backend cannot be used.
    """
    name, reason = _best() if setting == "auto" else (setting, "asked for")
    if name == "iptables":
        firewall = SelectedFirewall(iptables.Iptables(forwarding, host_forward.mark), _delete_nftables, host_forward)
        selection = BackendSelection(
            firewall,
            iptables_redirect.put,
            lambda: iptables_redirect.exists() and not nftables_redirect.exists(),
            _nothing,
            nftables_redirect.delete,
        )
    else:
        firewall = SelectedFirewall(Nftables(forwarding, host_forward.mark), _delete_iptables, host_forward)
        selection = BackendSelection(
            firewall,
            nftables_redirect.put,
            lambda: not iptables_redirect.exists(),
            nftables_redirect.upgrade,
            iptables_redirect.delete,
        )
    _log.info("firewall selected: firewall=%s reason=%s", name, reason)
    return selection


def _nothing() -> None:
    """The iptables backend's DNS redirect has had one form."""


def _best() -> tuple[str, str]:
    try:
        with Nft() as nft:
            nft.run(_PROBE)
    except KernelRefused as problem:
        return "iptables", problem.message
    return "nftables", "works"


class SelectedFirewall:
    """A firewall that deletes the other backend's objects after it has applied a ruleset, and retries until it did."""

    def __init__(self, firewall: Firewall, delete_other: Callable[[], None], host_forward: ForwardPolicy) -> None:
        """*delete_other* must not wait; it raises KernelRefused if it must be called again."""
        self._firewall = firewall
        self.host_forward = HostForward(host_forward, firewall.mark_priority)
        self._delete_other: Callable[[], None] | None = delete_other
        self._applied = False
        self._failure = ""

    @property
    def forwards(self) -> frozenset[Family]:
        return self._firewall.forwards

    @property
    def mark_priority(self) -> int:
        return self._firewall.mark_priority

    @property
    def state(self) -> RulesetState:
        return self._firewall.state

    def change(self, change: RulesetChange) -> None:
        self._firewall.change(change)
        self._delete_other_once()
        if change.added.bridges or change.removed.bridges:
            self.host_forward.note_networks(self._firewall.state.bridges, change.added.bridges)

    def update(self, rules: Ruleset) -> None:
        self._firewall.update(rules)
        self._finish()

    def reset(self, rules: Ruleset) -> None:
        self._firewall.reset(rules)
        self._finish()

    def remove(self) -> None:
        self._firewall.remove()
        self._delete_other_once()
        self.host_forward.remove()

    def is_damaged(self) -> bool:
        """Also repairs netd's rules in other programs' chains, and retries to delete the other backend's objects."""
        if self._applied:
            self._delete_other_once()
            self.host_forward.look()
        return self._firewall.is_damaged()

    def dropped_traffic(self, *, read_again: bool) -> list[Dropped]:
        """Return the traffic that other programs' forward chains drop."""
        if read_again:
            self.host_forward.converge(self._firewall.state.bridges)
        return self.host_forward.dropped()

    def close(self) -> None:
        self.host_forward.close()
        self._firewall.close()

    def _finish(self) -> None:
        self._delete_other_once()
        self.host_forward.converge(self._firewall.state.bridges)

    def _delete_other_once(self) -> None:
        self._applied = True
        if self._delete_other is None:
            return
        try:
            self._delete_other()
        except (KernelRefused, OSError) as problem:
            reason = problem.message if isinstance(problem, KernelRefused) else str(problem)
            if reason != self._failure:
                _log.warning("rules of the other firewall not deleted, will be retried: error=%s", reason)
            self._failure = reason
            return
        self._delete_other = None


def _delete_nftables() -> None:
    if netd_tables.exist():
        with Nft() as nft:
            nft.run(removal())


def _delete_iptables() -> None:
    """Delete the iptables chains; python-iptables is loaded only if there are any."""
    if any(table_info.with_chain_prefix(family, PREFIX.encode()) for family in FAMILIES):
        iptables.remove(wait=False)
