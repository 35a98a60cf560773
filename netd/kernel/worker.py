"""Everything that is done to the host, one thing after another.

Owns the sockets, the sandboxes and the firewall, and the last known facts of the host's links.  Lives in one
thread, whose network namespace is the host; :mod:`netd.kernel.kernel_host` is its asynchronous face.
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
from netd.kernel.firewall.backend_selection import choose
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
        self._memory = SysctlJournal(run_dir / "ports")
        self._outside = observe.Outside(self._host.find, self._host.program, self._memory.get)
        self.forwarding = sysctl.Forwarding(run_dir)
        self._choice = choose(firewall, self.forwarding)
        self.firewall: Firewall = self._choice.firewall
        self.known: dict[str, OnHost] = {}
        """What we last saw or made on the host, by the links' names."""
        self._macvlans = macvlans.Macvlans(self._host, self.sandboxes)
        link_reaper.delete_all(self._host)

    def close(self) -> None:
        self._host.close()
        self.firewall.close()
        self.sandboxes.close()
        self._memory.close()

    # looking

    def observe(self) -> State:
        links = {link.index: link for link in self._host.links()}
        bridges_known = {name: fact for name, fact in self.known.items() if isinstance(fact, Bridge)}
        there = replace(self._outside, link=links.get)
        found: list[Fact] = [
            *observe.bridge_facts(links.values(), self._host.addresses(), bridges_known, self._leaving)
        ]
        found += [*segments.facts(links.values()), *self._macvlans.facts(links)]
        for namespace in self.sandboxes.all():
            inside = self.sandboxes.run_in(namespace.sandbox, observe.look_inside)
            found += [namespace, *observe.sandbox_facts(namespace.sandbox, inside, there)]
        self._macvlans.saw(found)
        paired = {fact.host for fact in found if isinstance(fact, Pair)}
        found += [observe.lone_pair(one) for one in links.values() if observe.is_pair(one) and one.name not in paired]
        self.known = {name: fact for fact in found if isinstance(fact, _ON_HOST) for name in _names(fact)}
        return facts.state(found)

    def used_subnets(self) -> list[Subnet]:
        ours = self._ours(self._host.marks())
        addresses = self._host.addresses()
        found = {one.network for index, there in addresses.items() if index not in ours for one in there}
        found |= {
            route.destination for route in self._host.routes() if route.link not in ours and rtnl.leads_somewhere(route)
        }
        return sorted(found, key=lambda one: (one.version, one.network_address.packed, one.prefixlen))

    def routes(self) -> list[RouteEntry]:
        marks = self._host.marks()
        ours = self._ours(marks)
        return [
            RouteEntry(route.destination, marks[route.link][0])
            for route in self._host.routes()
            if route.link in marks and route.link not in ours and rtnl.leads_somewhere(route)
        ]

    def _ours(self, marks: Mapping[int, tuple[str, str]]) -> set[int]:
        return {index for index, (name, alias) in marks.items() if name in self.known or alias == bridges.MARK}

    def mtu(self, name: str) -> int:
        """Return a link's, or the smallest of the ways out."""
        out = [route for route in self._host.routes() if not name and rtnl.is_default(route)]
        ways = [name] if name else {link for route in out for link in (route.link, *route.further)}
        found = [link.mtu for way in ways if (link := self._host.find(way)) is not None]
        return min(found, default=0)

    def deviating(self, names: Iterable[str], indices: Iterable[int]) -> list[Change]:
        """Tell which of the links, known by name or index, are not as they were last seen or made."""
        names = {*names, *filter(None, map(name_of, indices))}
        return [change for name in names if (change := self._deviation(name))]

    def _leaving(self, link: int) -> bytes:
        return self._host.program(link, tc.EGRESS)

    def is_known(self, name: str) -> bool:
        return name in self.known or self._macvlans.stand_on(name)

    def _deviation(self, name: str) -> Change | None:
        if self._macvlans.have_lost(name):
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
            return None if observe.port_is(known, link, self._outside) else Change("link", name)
        addresses = self._host.addresses().get(link.index, [])
        bridge = observe.bridge_fact(link, addresses, known, self._leaving(link.index))
        if bridge == known:
            return None
        return Change("address" if replace(bridge, addresses=known.addresses) == known else "link", name)

    def forwarding_lost(self) -> bool:
        return not self.forwarding.is_on(self.firewall.forwards)

    # changing

    def apply(self, steps: Sequence[Step]) -> None:
        doomed = {step.fact.sandbox for step in steps if step.verb is Verb.DEL and isinstance(step.fact, Namespace)}
        try:
            for step in steps:
                with _explained(step):
                    self._carry_out(step, doomed)
        finally:
            retired = any(step.verb is Verb.DEL and isinstance(step.fact, _ON_HOST) for step in steps)
            self._reaper.touch(retired=retired)

    def _carry_out(self, step: Step, doomed: set[str]) -> None:
        for name in _names(step.fact):
            self.known.pop(name, None)
        if step.verb is Verb.DEL:
            self._drop(step.fact, doomed)
            return
        self._put(step.fact, step.previous)
        if isinstance(step.fact, _ON_HOST):
            self.known |= dict.fromkeys(_names(step.fact), step.fact)

    def _put(self, fact: Fact, was: Fact | None) -> None:
        match fact:
            case Bridge():
                bridges.put(self._host, fact, was if isinstance(was, Bridge) else None)
            case Segment():
                segments.put(self._host, fact)
            case HostLink() | Macvlan() | HostRoute():
                self._macvlans.put(fact)
            case Namespace():
                self.sandboxes.put(fact)
            case Pair():
                pairs.put(self._host, self.sandboxes, fact, was if isinstance(was, Pair) else None)
                self._memory.put(fact.host, fact.sysctls)
            case PluginLink():
                plugin_links.put(self._host, self.sandboxes, fact)
            case DefaultRoute():
                self.sandboxes.put_route(fact)

    def _drop(self, fact: Fact, doomed: set[str]) -> None:
        match fact:
            case Bridge():
                bridges.drop(self._host, fact)
            case Segment():
                segments.drop(self._host, fact)
            case HostLink() | Macvlan() | HostRoute():
                self._macvlans.drop(fact, doomed)
            case Namespace():
                self.sandboxes.drop(fact.sandbox)
            case Pair():
                pairs.drop(self._host, self.sandboxes, fact, inside_too=fact.sandbox not in doomed)
                self._memory.drop(fact.host)
            case PluginLink():
                plugin_links.drop(self.sandboxes, fact)
            case DefaultRoute() if fact.sandbox not in doomed:
                self.sandboxes.drop_route(fact)

    def open_resolver(self, sandbox: str) -> Resolver:
        return self.sandboxes.run_in(sandbox, lambda: dns_sockets.open_here(self._choice.lead))

    def resolver_leads(self, sandbox: str) -> bool:
        return self.sandboxes.run_in(sandbox, self._choice.leads)

    def move_resolver(self, sandbox: str) -> Resolver:
        def move() -> Resolver:
            opened = dns_sockets.open_here(self._choice.lead)
            self._choice.clear_other()
            return opened

        return self.sandboxes.run_in(sandbox, move)

    def remove_everything(self) -> None:
        """Take down what is ours and wait until it is gone."""
        self.apply(facts.plan({}, self.observe()))
        link_reaper.delete_all(self._host)
        self.firewall.remove()


def _names(fact: Fact) -> tuple[str, ...]:
    """Return the names of the links that the fact has on the host."""
    match fact:
        case Bridge() | HostLink():
            return (fact.name,)
        case Segment():
            return segments.names(fact.name)
        case Pair():
            return (fact.host,)
    return ()


@contextmanager
def _explained(step: Step) -> Iterator[None]:
    """Turn the kernel's error into a sentence that says what was being done."""
    try:
        yield
    except OSError as problem:
        what = " ".join(step.fact.key)
        reason = problem.strerror or str(problem)
        raise KernelRefused(
            f"the kernel refused to {step.verb.value} {what}: {reason}", problem.errno or 0
        ) from problem
