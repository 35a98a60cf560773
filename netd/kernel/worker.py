"""All reads and changes of the host, executed in order by one thread.

Owns the rtnetlink socket, the sandboxes' namespaces and the firewall.
Must be used in one thread, whose network namespace is the host; :mod:`netd.kernel.kernel_host` wraps it for asyncio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from netd import facts
from netd.common.addresses import Family, Subnet
from netd.common.errors import KernelRefused
from netd.facts import (
    Bridge,
    DefaultRoute,
    Fact,
    HostLink,
    HostRoute,
    Macvlan,
    Namespace,
    Pair,
    PluginLink,
    Segment,
    State,
    Step,
    Verb,
)
from netd.host_protocol import Resolver, RouteEntry
from netd.kernel import observe, sysctl
from netd.kernel.delivery.direct import DirectDelivery
from netd.kernel.firewall.backend_selection import select
from netd.kernel.firewall.forwarding.bridged_rules import BridgedRules
from netd.kernel.host_links import ON_HOST, HostLinks
from netd.kernel.links import bridges, link_reaper, macvlans, pairs, plugin_links, segments
from netd.kernel.namespaces import dns_sockets
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink.neighbours import delete_neighbour
from netd.kernel.netlink.rtnl_socket import Rtnl
from netd.kernel.surroundings import Surroundings
from netd.kernel.sysctl_journal import SysctlJournal
from netd.portmap.rules import BridgeRules, ForwardPolicy, Ruleset, RulesetChange


class Worker:
    def __init__(
        self, run_dir: Path, reaper: link_reaper.Reaper, firewall: str, policy: ForwardPolicy, *, direct: str
    ) -> None:
        self._reaper = reaper
        self._retired_bridges: list[int] = []
        self._set_aside = 0
        """Bridges of the steps that are applied which the reaper deletes at once; at most 1."""
        self._linked: set[str] = set()
        """The sandboxes with links in the steps that are applied."""
        self.sandboxes = SandboxNamespaces(run_dir)
        self.sandboxes.open()
        self._host = Rtnl()
        self._sysctl_journal = SysctlJournal(run_dir / "ports")
        self.delivery = DirectDelivery(self._host, enabled=direct != "off", pauses=direct != "on")
        self._lookups = observe.HostLookups(
            self._host.find, self._host.find, self._host.programs, self._sysctl_journal.get, self.delivery.faults
        )
        self.forwarding = sysctl.Forwarding(run_dir)
        self._selection = select(firewall, self.forwarding, policy)
        self.firewall = self._selection.firewall
        bits = policy.mark.bits if policy.mark else 0
        self._bridged_rules = BridgedRules(bits, self.firewall.mark_priority)
        self._macvlans = macvlans.Macvlans(self._host, self.sandboxes)
        self.links = HostLinks(self._host, self._macvlans, self._lookups)
        self.surroundings = Surroundings(self._host, lambda name: name in self.links.known)
        link_reaper.delete_all(self._host)

    def close(self) -> None:
        self.surroundings.close()
        self.delivery.close()
        self._bridged_rules.close()
        self._host.close()
        self.firewall.close()
        self.sandboxes.close()
        self._sysctl_journal.close()

    # Reading

    def observe(self) -> State:
        self.look_at_rules()
        links = {link.index: link for link in self._host.links()}
        lookups = replace(self._lookups, link=links.get)
        found: list[Fact] = [*segments.facts(links.values()), *self._macvlans.facts(links)]
        for namespace, contents in self.sandboxes.read_all(observe.read_namespace):
            found += [namespace, *observe.sandbox_facts(namespace.sandbox, contents, lookups)]
        self._macvlans.remember(found)
        pairs = [fact for fact in found if isinstance(fact, Pair)]
        paired = {pair.host for pair in pairs}
        self.delivery.retain(paired)
        found += [
            observe.lone_pair(link) for link in links.values() if observe.is_pair(link) and link.name not in paired
        ]
        found += self.links.bridge_facts(links.values(), pairs)
        self.links.remember(found)
        return facts.state(found)

    def used_subnets(self) -> Sequence[Subnet]:
        return self.surroundings.subnets()

    def routes(self) -> Sequence[RouteEntry]:
        return self.surroundings.routes()

    def uplinks(self) -> Mapping[Family, tuple[str, ...]]:
        return self.surroundings.uplinks()

    def mtu(self, name: str) -> int:
        """Return the MTU of a link, or the smallest of the links with default routes; 0 if there is none."""
        if not name:
            return self.surroundings.default_mtu()
        link = self._host.find(name)
        return link.mtu if link else 0

    def forwarding_lost(self) -> bool:
        return not self.forwarding.is_on(self.firewall.forwards)

    def look_at_rules(self) -> None:
        """Let direct delivery pause while rules of other programs may see packets within a network."""
        if self.delivery.available:
            self.delivery.look(self._bridged_rules.reason())

    # Changing

    def change_firewall(self, change: RulesetChange) -> None:
        self.firewall.change(change)
        if self._bridged_rules.change(change.removed.bridges, change.added.bridges):
            self.look_at_rules()
        self.links.drop_rules(change.removed.bridges)
        self.links.add_rules(change.added.bridges)
        self._forward(change.added.bridges)

    def update_firewall(self, rules: Ruleset) -> None:
        self.firewall.update(rules)
        self._bridged_rules.reset(rules.bridges)
        self.look_at_rules()
        self.links.set_rules(rules.bridges)

    def reset_firewall(self, rules: Ruleset) -> None:
        self.firewall.reset(rules)
        self._bridged_rules.reset(rules.bridges)
        self.look_at_rules()
        self.links.set_rules(rules.bridges)

    def _forward(self, rules: Iterable[BridgeRules]) -> None:
        """Let netd's own bridges forward, after the rules that filter what they forward are in place.

        A new link has the settings of ``conf/default``, which other programs change.
        """
        for bridge in rules:
            known = self.links.known.get(bridge.name)
            if isinstance(known, Bridge) and known.owned:
                for family in self.links.forwards(bridge.name):
                    name = f"net/ipv{family}/conf/{bridge.name}/forwarding"
                    if sysctl.read_optional(name) == "0":
                        sysctl.write_optional(name, "1")

    def change(self, steps: Sequence[Step], before: RulesetChange | None, after: RulesetChange | None) -> None:
        """Change rules, links and rules.  What follows a failure is still done; the first one is raised."""
        failure: Exception | None = None
        for part in (
            partial(self.change_firewall, before) if before else None,
            partial(self.apply, steps),
            partial(self.change_firewall, after) if after else None,
        ):
            try:
                if part is not None:
                    part()
            except Exception as problem:
                failure = failure or problem
        if failure is not None:
            raise failure

    def apply(self, steps: Sequence[Step]) -> None:
        deleted = {step.fact.sandbox for step in steps if step.verb is Verb.DEL and isinstance(step.fact, Namespace)}
        self._linked = {step.fact.sandbox for step in steps if isinstance(step.fact, Pair | Macvlan)}
        try:
            for step in steps:
                with _errors_of(step):
                    self._apply_step(step, deleted)
        finally:
            retired = any(step.verb is Verb.DEL and isinstance(step.fact, ON_HOST) for step in steps)
            self._reaper.note_change(retired=retired, bridges=self._retired_bridges, set_aside=self._set_aside)
            self._retired_bridges, self._set_aside = [], 0

    def _apply_step(self, step: Step, deleted_sandboxes: set[str]) -> None:
        self.links.forget(step.fact)
        if isinstance(step.fact, Bridge) and not step.fact.owned:
            self.surroundings.invalidate()
        if step.verb is Verb.DEL:
            self._delete(step.fact, deleted_sandboxes)
            return
        self._put(step.fact, step.previous)
        self.links.note(step.fact)

    def _put(self, fact: Fact, previous: Fact | None) -> None:
        match fact:
            case Bridge():
                self._put_bridge(fact, previous if isinstance(previous, Bridge) else None)
            case Segment():
                segments.put(self._host, fact)
            case HostLink() | Macvlan() | HostRoute():
                self._macvlans.put(fact)
            case Namespace():
                self.sandboxes.put(fact, with_links=fact.sandbox in self._linked)
            case Pair():
                self._put_pair(fact, previous if isinstance(previous, Pair) else None)
                self._sysctl_journal.put(fact.host, fact.sysctls)
            case PluginLink():
                plugin_links.put(self._host, self.sandboxes, fact)
            case DefaultRoute():
                self.sandboxes.put_default_route(fact)

    def _put_pair(self, fact: Pair, previous: Pair | None) -> None:
        permitted = fact.antispoof and not fact.isolated
        scope = self.links.first_bridge(fact.bridge) if permitted else 0
        pairs.put(self._host, self.sandboxes, self.delivery, fact, scope, previous)

    def _put_bridge(self, fact: Bridge, previous: Bridge | None) -> None:
        bridges.put(self._host, fact, previous, self.links.forwards(fact.name))
        if previous is not None:
            self._host.talk(*map(delete_neighbour, self.links.wrong_neighbours(fact.name)))

    def _delete(self, fact: Fact, deleted_sandboxes: set[str]) -> None:
        match fact:
            case Bridge():
                self._delete_bridge(fact)
            case Segment():
                segments.delete(self._host, fact)
            case HostLink() | Macvlan() | HostRoute():
                self._macvlans.delete(fact, deleted_sandboxes)
            case Namespace():
                self.sandboxes.delete(fact.sandbox)
            case Pair():
                inside_too = fact.sandbox not in deleted_sandboxes
                pairs.delete(self._host, self.sandboxes, self.delivery, fact, inside_too=inside_too)
                self._sysctl_journal.delete(fact.host)
            case PluginLink():
                plugin_links.delete(self.sandboxes, fact)
            case DefaultRoute() if fact.sandbox not in deleted_sandboxes:
                self.sandboxes.delete_default_route(fact)

    def _delete_bridge(self, fact: Bridge) -> None:
        at_once = not self._set_aside and bridges.has_unique_name(fact) and self._reaper.deletes_at_once()
        index = bridges.delete(self._host, fact, at_once=at_once)
        if at_once:
            self._set_aside = int(index is not None)
        elif index is not None:
            self._retired_bridges.append(index)

    def open_resolver(self, sandbox: str) -> Resolver:
        if (ready := self.sandboxes.take_resolver(sandbox)) is not None:
            return ready
        return self.sandboxes.run_in(sandbox, lambda: dns_sockets.open_here(self._selection.redirect_dns))

    def make_spare(self) -> bool:
        """Make a namespace for a later sandbox; return whether further ones are missing."""
        return self.sandboxes.make_spare(self._selection.redirect_dns)

    def foreign_redirects(self, sandboxes: Iterable[str]) -> list[str]:
        """Return the sandboxes whose DNS redirect is not by the selected backend; upgrade the others' redirects."""

        def is_foreign() -> bool:
            if not self._selection.has_dns_redirect():
                return True
            self._selection.upgrade_redirect()
            return False

        return self.sandboxes.select(sandboxes, is_foreign)

    def move_resolver(self, sandbox: str) -> Resolver:
        def move() -> Resolver:
            resolver = dns_sockets.open_here(self._selection.redirect_dns)
            try:
                self._selection.delete_other_redirect()
            except BaseException:
                resolver.close()
                raise
            return resolver

        return self.sandboxes.run_in(sandbox, move)

    def remove_everything(self) -> None:
        """Delete all objects of netd and wait until they are deleted."""
        self.apply(facts.plan({}, self.observe()))
        link_reaper.delete_all(self._host)
        self.firewall.remove()


@contextmanager
def _errors_of(step: Step) -> Iterator[None]:
    """Raise OSErrors of the step as KernelRefused, with its verb and object in the message."""
    try:
        yield
    except OSError as problem:
        key = " ".join(step.fact.key)
        reason = problem.strerror or str(problem)
        raise KernelRefused(f"the kernel refused to {step.verb.value} {key}: {reason}", problem.errno or 0) from problem
