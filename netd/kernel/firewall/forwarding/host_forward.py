"""netd's rule in forward chains of other programs: present exactly where they would drop what netd's rules admit.

Owns the rules with netd's comment, and the knowledge which traffic is dropped.  Must not change another rule.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import KernelRefused
from netd.host_protocol import Dropped
from netd.kernel import sysctl
from netd.kernel.firewall.forwarding import legacy_chains, nft_chains
from netd.kernel.firewall.forwarding.chains import ForwardChain, Test, outcome
from netd.kernel.firewall.forwarding.firewalld_zone import FirewalldZone
from netd.kernel.firewall.forwarding.flows import OUTSIDE, Flow, bridged, kinds, samples
from netd.kernel.firewall.forwarding.remedies import manager, remedy
from netd.kernel.firewall.forwarding.uplink import uplink
from netd.kernel.firewall.nftables.nft import Nft
from netd.portmap.rules import BridgeRules, ForwardPolicy

_log = logging.getLogger(__name__)
_REST = 20
"""Seconds between two readings of other programs' chains per second that the previous reading took."""
_RETRY = 1.0
"""Seconds until a chain that could not be read or changed is tried again."""
_KEEP = 3.0
"""Seconds for which a rule is kept that is not needed: a firewall permits everything while it reloads its rules."""
_ALL = "all"
_PORTS = "nd*"
"""The names of all links of netd: its bridges have further ports only if users add them."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Traffic that netd's rules admit and a chain of another program drops."""

    flow: Flow
    chain: ForwardChain
    verdict: str
    place: str
    """The policy or the rule that drops it."""


class HostForward:
    """Use it in one thread, whose network namespace is the host."""

    def __init__(self, policy: ForwardPolicy, mark_priority: int) -> None:
        self._bits = policy.mark.bits if policy.mark else 0
        self._insert = policy.insert
        self._fwmark = policy.fwmark
        self._mark_priority = mark_priority
        self._bridges: Collection[BridgeRules] = ()
        self._due = 0.0
        self._seen: object = None
        self._failures: dict[str, str] = {}
        """The reason why a chain could not be read or changed in the last look, by chain."""
        self._noted: dict[str, str] = {}
        """The same for the look before."""
        self._changed = False
        """Whether the last look changed a chain."""
        self._unneeded: dict[str, float] = {}
        """When the rule was first found not to be needed, by chain."""
        self._zone = FirewalldZone()
        self._nft: Nft | None = None
        self._reader = nft_chains.NftReader()
        self._looked_kinds: Set[object] = frozenset()
        """The kinds of networks of which packets were tried at the last reading."""
        self.blocked: list[Blocked] = []
        """The traffic that is dropped, as of the last reading."""

    def close(self) -> None:
        self._reader.close()
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def dropped(self) -> list[Dropped]:
        """Return the traffic that was dropped at the last reading, once for the packets of both directions."""
        found = []
        for blocked in self.blocked:
            flow, chain = blocked.flow, blocked.chain
            command = remedy(chain, flow.bridge, self._fwmark)
            reason = f"{blocked.verdict}, {blocked.place}"
            found.append(Dropped(flow.traffic.value, flow.family, flow.bridge, str(chain), reason, command))
        return list(dict.fromkeys(found))

    def note_networks(self, bridges: Iterable[BridgeRules], added: Iterable[BridgeRules]) -> None:
        """Converge if *added* are networks of a new kind, of which other packets are forwarded; *bridges* are all.

        Rules that are not needed any more are deleted by ``look``.
        """
        self._bridges = frozenset(bridges)
        if self._failures or not kinds(added) <= self._looked_kinds:
            self._look(None, keep=0.0)

    def converge(self, bridges: Iterable[BridgeRules]) -> None:
        """Add, replace or delete netd's rule in each chain, as the networks require."""
        self._bridges = frozenset(bridges)
        self._look(None, keep=0.0)

    def look(self) -> None:
        """Converge if another program changed its rules since the last call; rests in proportion to the cost."""
        if time.monotonic() >= self._due:
            self._look(self._seen, keep=_KEEP)

    def remove(self) -> None:
        """Delete netd's rules from the chains of other programs."""
        if self._insert and any(chain.table == "firewalld" for chain in self._reader.read()):
            self._zone.remove()
        self._bridges, self._insert = (), False
        self._look(None, keep=0.0)

    def _look(self, seen: object, *, keep: float) -> None:
        began = time.monotonic()
        try:
            generation, legacy = self._reader.generation(), legacy_chains.read()
            found = (generation, legacy)
            if found == seen:
                return
            self._noted, self._failures, self._changed = self._failures, {}, False
            self._looked_kinds = kinds(self._bridges)
            chains = [*legacy, *self._of_nftables()]
            existing = {str(chain) for chain in chains}
            self._unneeded = {name: since for name, since in self._unneeded.items() if name in existing}
            uplinks = {family: uplink(OUTSIDE[family]) for family in FAMILIES}
            self.blocked = [blocked for chain in chains for blocked in self._settle(chain, uplinks, keep)]
            # After a change of netd, look once more: another program may have changed its rules meanwhile.
            self._seen = None if self._failures or self._unneeded or self._changed else found
        except (KernelRefused, OSError) as problem:
            self._note(_ALL, str(getattr(problem, "message", problem)))
        finally:
            now = time.monotonic()
            self._due = now + max(_RETRY if self._failures else 0.0, _REST * (now - began))

    def _of_nftables(self) -> list[ForwardChain]:
        found = self._reader.read()
        if not found:
            return []
        if self._nft is None:
            self._nft = Nft(json=True)
        chains = []
        for chain in found:
            # A chain may be deleted meanwhile, or contain rules that this libnftables does not know.
            try:
                chains.append(nft_chains.with_rules(self._nft, chain))
            except KernelRefused as problem:
                self._note(str(chain), problem.message)
        return chains

    def _settle(self, chain: ForwardChain, uplinks: dict[Family, str], keep: float) -> list[Blocked]:
        """Add or delete netd's rule in the chain; return the traffic that it drops nevertheless."""
        dropped = self._dropped(chain, uplinks)
        if dropped and self._insert and manager(chain) == "firewalld":
            self._zone.request([bridge.name for bridge in self._bridges])
        usable = self._insert and (chain.family == "bridge" or chain.priority > self._mark_priority)
        wanted = usable and bool(dropped)
        if wanted and self._is_settled(chain, dropped):
            self._unneeded.pop(str(chain), None)
            return []
        if not wanted and (not chain.own_rules or self._is_kept(chain, keep)):
            return dropped
        self._unneeded.pop(str(chain), None)
        self._changed = True
        try:
            self._change(chain, insert=wanted)
        except (KernelRefused, OSError) as problem:
            self._note(str(chain), str(getattr(problem, "message", problem)))
            return dropped
        if wanted:
            first = dropped[0]
            _log.warning(
                "forwarding permitted: chain=%s dropped=%s by=%s",
                chain,
                _names(dropped),
                f"{first.verdict}, {first.place}",
            )
            return []
        _log.info("rule deleted: chain=%s", chain)
        return dropped

    def _is_kept(self, chain: ForwardChain, keep: float) -> bool:
        """Return whether a rule that is not needed stays for now."""
        now = time.monotonic()
        return now < self._unneeded.setdefault(str(chain), now) + keep

    def _dropped(self, chain: ForwardChain, uplinks: dict[Family, str]) -> list[Blocked]:
        """Return the traffic that the chain drops without netd's rule."""
        if chain.family == "bridge":
            flows = bridged(self._bridges)
        else:
            filtered = sysctl.bridge_filter()
            families = {"ip": (4,), "ip6": (6,)}.get(chain.family, FAMILIES)
            found = (samples(self._bridges, uplinks[family], filtered, self._bits) for family in FAMILIES)
            flows = [flow for flow in _by_family(found) if flow.family in families]
        outcomes = ((flow, outcome(chain, flow.packet, without_own=True)) for flow in flows)
        return [Blocked(flow, chain, result.verdict, result.place) for flow, result in outcomes if result.drops]

    def _is_settled(self, chain: ForwardChain, dropped: list[Blocked]) -> bool:
        """Return whether netd's rule is in the chain, as netd writes it and where it has an effect."""
        test = Test("iifname", (_PORTS,)) if chain.family == "bridge" else Test("mark", ((self._bits, self._bits),))
        exact = [(rule.tests, rule.verdict) for rule in chain.own_rules] == [((test,), "accept")]
        return exact and not any(outcome(chain, blocked.flow.packet).drops for blocked in dropped)

    def _change(self, chain: ForwardChain, *, insert: bool) -> None:
        if chain.kind == "iptables-legacy":
            return legacy_chains.insert(chain, self._bits) if insert else legacy_chains.delete(chain)
        if self._nft is None:
            self._nft = Nft(json=True)
        if not insert:
            return nft_chains.delete(self._nft, chain)
        condition = nft_chains.arrived_by(_PORTS) if chain.family == "bridge" else nft_chains.marked(self._bits)
        return nft_chains.insert(self._nft, chain, condition)

    def _note(self, what: str, reason: str) -> None:
        if self._noted.get(what) != reason:
            _log.warning("forwarding not permitted, will be retried: chain=%s error=%s", what, reason)
        self._failures[what] = reason


def _by_family(found: Iterable[list[Flow]]) -> list[Flow]:
    """Return the flows of each family from the samples with the uplink of that family."""
    return [flow for family, flows in zip(FAMILIES, found, strict=True) for flow in flows if flow.family == family]


def _names(dropped: list[Blocked]) -> str:
    return ",".join(dict.fromkeys(str(blocked.flow.traffic).replace(" ", "-") for blocked in dropped))
