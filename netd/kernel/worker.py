"""All reads and changes of the host, executed in order by one thread.

Owns the rtnetlink socket, the sandboxes' namespaces, the firewall, and the last known facts of the host's links.
Must be used in one thread, whose network namespace is the host; :mod:`netd.kernel.kernel_host` wraps it for asyncio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from netd import facts
from netd.common.addresses import Subnet
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
from netd.host_protocol import Change, Resolver, RouteEntry
from netd.kernel import observe, sysctl
from netd.kernel.firewall.backend_selection import select
from netd.kernel.firewall.contract import Firewall
from netd.kernel.links import bridges, link_reaper, macvlans, pairs, plugin_links, segments
from netd.kernel.namespaces import dns_sockets
from netd.kernel.namespaces.sandbox_namespaces import SandboxNamespaces
from netd.kernel.netlink import rtnl, tc
from netd.kernel.netlink.rtnl_socket import Rtnl, name_of
from netd.kernel.sysctl_journal import SysctlJournal

OnHost: TypeAlias = Bridge | Segment | HostLink | Pair
_ON_HOST = (Bridge, Segment, HostLink, Pair)


class Worker:
    def __init__(self, run_dir: Path, reaper: link_reaper.Reaper, firewall: str) -> None:
        self._reaper = reaper
        self.sandboxes = SandboxNamespaces(run_dir)
        self.sandboxes.open()
        self._host = Rtnl()
        self._sysctl_journal = SysctlJournal(run_dir / "ports")
        self._lookups = observe.HostLookups(self._host.find, self._host.program, self._sysctl_journal.get)
        self.forwarding = sysctl.Forwarding(run_dir)
        self._selection = select(firewall, self.forwarding)
        self.firewall: Firewall = self._selection.firewall
        self.known: dict[str, OnHost] = {}
        """The facts on the host that were last observed or applied, by the names of their links."""
        self._macvlans = macvlans.Macvlans(self._host, self.sandboxes)
        link_reaper.delete_all(self._host)

    def close(self) -> None:
        self._host.close()
        self.firewall.close()
        self.sandboxes.close()
        self._sysctl_journal.close()

    # Reading

    def observe(self) -> State:
        links = {link.index: link for link in self._host.links()}
        bridges_known = {name: fact for name, fact in self.known.items() if isinstance(fact, Bridge)}
        lookups = replace(self._lookups, link=links.get)
        found: list[Fact] = [
            *observe.bridge_facts(links.values(), self._host.addresses(), bridges_known, self._egress_program)
        ]
        found += [*segments.facts(links.values()), *self._macvlans.facts(links)]
        for namespace in self.sandboxes.all():
            contents = self.sandboxes.run_in(namespace.sandbox, observe.read_namespace)
            found += [namespace, *observe.sandbox_facts(namespace.sandbox, contents, lookups)]
        self._macvlans.remember(found)
        paired = {fact.host for fact in found if isinstance(fact, Pair)}
        found += [
            observe.lone_pair(link) for link in links.values() if observe.is_pair(link) and link.name not in paired
        ]
        self.known = {name: fact for fact in found if isinstance(fact, _ON_HOST) for name in _names(fact)}
        return facts.state(found)

    def used_subnets(self) -> list[Subnet]:
        own = self._own_indices(self._host.names_and_aliases())
        addresses = self._host.addresses()
        found = {address.network for index, group in addresses.items() if index not in own for address in group}
        found |= {
            route.destination for route in self._host.routes() if route.link not in own and rtnl.uses_destination(route)
        }
        return sorted(found, key=lambda subnet: (subnet.version, subnet.network_address.packed, subnet.prefixlen))

    def routes(self) -> list[RouteEntry]:
        links = self._host.names_and_aliases()
        own = self._own_indices(links)
        return [
            RouteEntry(route.destination, links[route.link][0])
            for route in self._host.routes()
            if route.link in links and route.link not in own and rtnl.uses_destination(route)
        ]

    def _own_indices(self, links: Mapping[int, tuple[str, str]]) -> set[int]:
        return {index for index, (name, alias) in links.items() if name in self.known or alias == bridges.MARK}

    def mtu(self, name: str) -> int:
        """Return the MTU of a link, or the smallest of the links with default routes; 0 if there is none."""
        defaults = [route for route in self._host.routes() if not name and rtnl.is_default(route)]
        links = [name] if name else {index for route in defaults for index in (route.link, *route.further_links)}
        found = [link.mtu for key in links if (link := self._host.find(key)) is not None]
        return min(found, default=0)

    def deviations(self, names: Iterable[str], indices: Iterable[int]) -> list[Change]:
        """Return a change for each of these links that differs from its last known fact."""
        names = {*names, *filter(None, map(name_of, indices))}
        return [change for name in names if (change := self._deviation(name))]

    def _egress_program(self, link: int) -> bytes:
        return self._host.program(link, tc.EGRESS)

    def is_known(self, name: str) -> bool:
        return name in self.known or self._macvlans.is_parent(name)

    def _deviation(self, name: str) -> Change | None:
        if self._macvlans.parent_changed(name):
            return Change("link", name)
        known = self.known.get(name)
        if known is None:
            return None
        link = self._host.find(name)
        if link is None:
            return Change("link", name)
        if isinstance(known, Segment):
            found = segments.fact(known.name, self._host.find, self._host.find)
            return None if found == known else Change("link", name)
        if isinstance(known, HostLink):
            return None if self._macvlans.access_is(known, link) else Change("link", name)
        if isinstance(known, Pair):
            return None if observe.port_is(known, link, self._lookups) else Change("link", name)
        addresses = self._host.addresses().get(link.index, [])
        bridge = observe.bridge_fact(link, addresses, known, self._egress_program(link.index))
        if bridge == known:
            return None
        return Change("address" if replace(bridge, addresses=known.addresses) == known else "link", name)

    def forwarding_lost(self) -> bool:
        return not self.forwarding.is_on(self.firewall.forwards)

    # Changing

    def apply(self, steps: Sequence[Step]) -> None:
        deleted = {step.fact.sandbox for step in steps if step.verb is Verb.DEL and isinstance(step.fact, Namespace)}
        try:
            for step in steps:
                with _errors_of(step):
                    self._apply_step(step, deleted)
        finally:
            retired = any(step.verb is Verb.DEL and isinstance(step.fact, _ON_HOST) for step in steps)
            self._reaper.note_change(retired=retired)

    def _apply_step(self, step: Step, deleted_sandboxes: set[str]) -> None:
        for name in _names(step.fact):
            self.known.pop(name, None)
        if step.verb is Verb.DEL:
            self._delete(step.fact, deleted_sandboxes)
            return
        self._put(step.fact, step.previous)
        if isinstance(step.fact, _ON_HOST):
            self.known |= dict.fromkeys(_names(step.fact), step.fact)

    def _put(self, fact: Fact, previous: Fact | None) -> None:
        match fact:
            case Bridge():
                bridges.put(self._host, fact, previous if isinstance(previous, Bridge) else None)
            case Segment():
                segments.put(self._host, fact)
            case HostLink() | Macvlan() | HostRoute():
                self._macvlans.put(fact)
            case Namespace():
                self.sandboxes.put(fact)
            case Pair():
                pairs.put(self._host, self.sandboxes, fact, previous if isinstance(previous, Pair) else None)
                self._sysctl_journal.put(fact.host, fact.sysctls)
            case PluginLink():
                plugin_links.put(self._host, self.sandboxes, fact)
            case DefaultRoute():
                self.sandboxes.put_default_route(fact)

    def _delete(self, fact: Fact, deleted_sandboxes: set[str]) -> None:
        match fact:
            case Bridge():
                bridges.delete(self._host, fact)
            case Segment():
                segments.delete(self._host, fact)
            case HostLink() | Macvlan() | HostRoute():
                self._macvlans.delete(fact, deleted_sandboxes)
            case Namespace():
                self.sandboxes.delete(fact.sandbox)
            case Pair():
                pairs.delete(self._host, self.sandboxes, fact, inside_too=fact.sandbox not in deleted_sandboxes)
                self._sysctl_journal.delete(fact.host)
            case PluginLink():
                plugin_links.delete(self.sandboxes, fact)
            case DefaultRoute() if fact.sandbox not in deleted_sandboxes:
                self.sandboxes.delete_default_route(fact)

    def open_resolver(self, sandbox: str) -> Resolver:
        return self.sandboxes.run_in(sandbox, lambda: dns_sockets.open_here(self._selection.redirect_dns))

    def has_dns_redirect(self, sandbox: str) -> bool:
        """Return whether the DNS redirect in the sandbox is by the selected backend."""
        return self.sandboxes.run_in(sandbox, self._selection.has_dns_redirect)

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


def _names(fact: Fact) -> tuple[str, ...]:
    """Return the names of the fact's links on the host."""
    match fact:
        case Bridge() | HostLink():
            return (fact.name,)
        case Segment():
            return segments.names(fact.name)
        case Pair():
            return (fact.host,)
    return ()


@contextmanager
def _errors_of(step: Step) -> Iterator[None]:
    """Raise OSErrors of the step as KernelRefused, with its verb and object in the message."""
    try:
        yield
    except OSError as problem:
        key = " ".join(step.fact.key)
        reason = problem.strerror or str(problem)
        raise KernelRefused(f"the kernel refused to {step.verb.value} {key}: {reason}", problem.errno or 0) from problem
