"""Asynchronous implementation of :class:`netd.host_protocol.Host`.

Owns three threads: the first executes all changes and reads in order, the second deletes conntrack entries in
parallel, the third deletes retired links.  Bound to one network namespace for its lifetime.  Must not decide what
the host should hold.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from netd.common import resource_errors
from netd.common.addresses import Address, Family, Subnet
from netd.common.errors import KernelRefused
from netd.common.tasks import Tasks
from netd.facts import State, Step
from netd.host_protocol import (
    Change,
    ConnectionCounts,
    ConnectionTable,
    Dropped,
    Flows,
    LinkCounters,
    Probe,
    Resolver,
    RouteEntry,
)
from netd.kernel import conntrack_count, forward_probe, machine, sysctl
from netd.kernel.conntrack import Conntrack
from netd.kernel.high_descriptors import move_high
from netd.kernel.links import link_counters
from netd.kernel.links.link_reaper import Reaper
from netd.kernel.namespaces import libc
from netd.kernel.netlink.rtnl_socket import index_of
from netd.kernel.netlink.watch import KernelEvents, KernelWatch
from netd.kernel.worker import Worker
from netd.portmap.rules import ForwardPolicy, Ruleset, RulesetChange

T = TypeVar("T")
_LEAVE = ForwardPolicy(insert=False)
_log = logging.getLogger(__name__)
_REAP_TIMEOUT = 2.0
"""Seconds; after it the reaper continues in the background."""
_LOOK, _LOOK_FACTOR = 0.5, 30
"""Pause between two looks at settings without notifications: at least ``_LOOK`` seconds and ``_LOOK_FACTOR`` times the
duration of the last look, which is 0.2 ms with ten networks and 20 ms with a thousand."""
_SPARE_PAUSE = 0.03
"""Seconds after the creation of a sandbox, without another one, until a spare namespace is made."""
_ROUTES_SETTLE = 0.5
"""Seconds between two checks whether changed routes are foreign."""


class KernelHost:
    """Implements the protocol, which documents the methods."""

    def __init__(self, threads: _Threads, worker: Worker, conntrack: Conntrack, watch: KernelWatch) -> None:
        self._threads = threads
        self._worker = worker
        self._firewall_changes = 0
        self._conntrack = conntrack
        self._watch = watch
        self._next_look = 0.0
        self._tasks = Tasks()
        self._spare_timer: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        run_dir: Path,
        *,
        netns: int | None = None,
        firewall: str = "auto",
        policy: ForwardPolicy = _LEAVE,
        direct: str = "auto",
    ) -> Self:
        """Bind to the network namespace of the process, or to that of the descriptor *netns*.

        *direct* is the setting ``direct_delivery``.

        Creates the folders of sandboxes in *run_dir*, and deletes stale files in them and the links that a killed netd
        had retired; changes nothing else.  Raises KernelRefused if the kernel lacks a feature that netd needs.
        """
        threads = _Threads(netns)
        try:
            worker = await threads.run(lambda: Worker(run_dir, threads.reaper, firewall, policy, direct=direct))
            conntrack = await threads.run_in_parallel(Conntrack)
            watch = await threads.run(KernelWatch)
        except BaseException:
            await threads.close()
            raise
        watch.start()
        return cls(threads, worker, conntrack, watch)

    async def close(self) -> None:
        """Stop the watch, wait for pending deletions and end the threads.  Objects in the kernel stay."""
        self._closed = True
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        await self._tasks.close()
        self._watch.close()
        await self._threads.run_in_parallel(self._conntrack.close)
        await self._threads.run(self._worker.close)
        await self._threads.close()

    async def observe(self) -> State:
        return await self._threads.run(self._worker.observe)

    async def apply(
        self, steps: Sequence[Step], *, before: RulesetChange | None = None, after: RulesetChange | None = None
    ) -> None:
        self._firewall_changes += (before is not None) + (after is not None)
        await self._threads.run(lambda: self._worker.change(steps, before, after))

    @property
    def firewall_changes(self) -> int:
        return self._firewall_changes

    async def change_firewall(self, change: RulesetChange) -> None:
        self._firewall_changes += 1
        await self._threads.run(lambda: self._worker.change_firewall(change))

    async def update_firewall(self, rules: Ruleset) -> None:
        await self._threads.run(lambda: self._worker.update_firewall(rules))

    async def reset_firewall(self, rules: Ruleset) -> None:
        await self._threads.run(lambda: self._worker.reset_firewall(rules))

    async def open_resolver(self, sandbox: str) -> Resolver:
        self._make_spare_later()
        return _with_high_descriptors(await self._threads.run(lambda: self._worker.open_resolver(sandbox)))

    def _make_spare_later(self) -> None:
        """Make spare namespaces when no sandbox has been created for a moment, because other calls wait for that."""
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        self._spare_timer = asyncio.get_running_loop().call_later(_SPARE_PAUSE, self._start_spare)

    def _start_spare(self) -> None:
        self._spare_timer = None
        if not self._closed:
            self._tasks.start(self._make_spare(), "spare-namespace")

    async def _make_spare(self) -> None:
        if await self._threads.run(self._worker.make_spare) and self._spare_timer is None:
            self._make_spare_later()

    async def foreign_redirects(self, sandboxes: Sequence[str]) -> Sequence[str]:
        return await self._threads.run(lambda: self._worker.foreign_redirects(sandboxes))

    async def move_resolver(self, sandbox: str) -> Resolver:
        return _with_high_descriptors(await self._threads.run(lambda: self._worker.move_resolver(sandbox)))

    async def delete_flows(self, flows: Flows) -> None:
        """Takes 12 ms or more, in parallel with other calls."""
        await self._threads.run_in_parallel(lambda: self._conntrack.delete(flows))

    async def adopt_namespace(self, sandbox: str, path: str) -> None:
        await self._threads.run(lambda: self._worker.sandboxes.adopt(sandbox, path))

    async def delete_stray_connections(self, rules: Ruleset) -> int:
        return await self._threads.run_in_parallel(lambda: self._conntrack.delete_strays(rules))

    async def connection_table(self) -> ConnectionTable:
        return await self._threads.run_in_parallel(conntrack_count.table)

    async def link_counters(self) -> Mapping[str, LinkCounters]:
        return await self._threads.run_in_parallel(lambda: link_counters.read(self._worker.delivery.counters()))

    async def sample_connections(self, entries: int) -> ConnectionCounts:
        return await self._threads.run_in_parallel(lambda: conntrack_count.sample(entries))

    async def count_connections(self, sources: Collection[Address], most: int) -> ConnectionCounts:
        return await self._threads.run_in_parallel(lambda: conntrack_count.count(sources, most))

    def namespace_path(self, sandbox: str) -> Path:
        return self._worker.sandboxes.path(sandbox)

    async def used_subnets(self) -> Sequence[Subnet]:
        known = self._worker.surroundings.known()
        return known.subnets if known else await self._threads.run(self._worker.used_subnets)

    async def routes(self) -> Sequence[RouteEntry]:
        known = self._worker.surroundings.known()
        return known.routes if known else await self._threads.run(self._worker.routes)

    async def wait_for_route_change(self) -> None:
        while True:
            await self._watch.route_changed.wait()
            self._watch.route_changed.clear()
            if await self._threads.run(self._worker.surroundings.changed):
                return
            await asyncio.sleep(_ROUTES_SETTLE)

    async def mtu(self, link: str = "") -> int:
        known = None if link else self._worker.surroundings.known()
        return known.default_mtu if known else await self._threads.run(lambda: self._worker.mtu(link))

    async def uplinks(self) -> Mapping[Family, Sequence[str]]:
        return await self._threads.run(self._worker.uplinks)

    async def dropped_traffic(self, *, read_again: bool = False) -> list[Dropped]:
        if not read_again:
            # What was found at the last reading is in memory: no other thread is needed.
            return self._worker.firewall.dropped_traffic(read_again=False)
        return await self._threads.run(lambda: self._worker.firewall.dropped_traffic(read_again=read_again))

    async def probe(self, probe: Probe) -> bool | None:
        return await self._threads.run(lambda: forward_probe.run(probe, self._worker.sandboxes))

    async def has_link(self, name: str) -> bool:
        return await self._threads.run(lambda: index_of(name) is not None)

    def boot_id(self) -> str:
        return machine.boot_id()

    def hostname(self) -> str:
        return machine.hostname()

    async def changes(self) -> AsyncIterator[Change]:
        """Yield changes by other programs, for a single consumer; equal changes between two iterations once."""
        while (events := await self._next_events()) is not None:
            for change in await self._changes_of(events):
                yield change

    async def _next_events(self) -> KernelEvents | None:
        """Return the next events, or empty events when the next look is due; None once closed."""
        try:
            async with asyncio.timeout(max(0.0, self._next_look - time.monotonic())):
                return await self._watch.wait()
        except TimeoutError:
            return KernelEvents()

    async def _changes_of(self, events: KernelEvents) -> list[Change]:
        """Compare in the ordered thread: netd's own changes that caused events are complete by then."""
        return await self._threads.run(lambda: self._compare(events))

    def _compare(self, events: KernelEvents) -> list[Change]:
        links = self._worker.links
        self._worker.surroundings.note_changes()
        changes = [Change("lost")] if events.lost else []
        names = {name for name in events.links if links.is_known(name)}
        if events.replaced:
            names.update(links.bridges_at(events.replaced))
        if names or events.indices:
            changes += links.deviations(names, events.indices, neighbours=events.neighbours)
        if events.rules:
            self._worker.firewall.host_forward.look()
            self._worker.look_at_rules()
        damaged = events.table or (events.forwarding and self._worker.forwarding_lost())
        if time.monotonic() >= self._next_look:
            started = time.monotonic()
            changes += [change for change in links.look() if change not in changes]
            damaged = self._firewall_is_damaged() or damaged
            self._worker.look_at_rules()
            self._next_look = time.monotonic() + max(_LOOK, _LOOK_FACTOR * (time.monotonic() - started))
        return [*changes, Change("firewall")] if damaged else changes

    def _firewall_is_damaged(self) -> bool:
        """Return False if the comparison fails: it is repeated at the next look."""
        try:
            return self._worker.firewall.is_damaged()
        except (KernelRefused, OSError) as problem:
            _log.warning("firewall not compared, will be retried: error=%s", problem)
            return False

    async def begin_reaping(self) -> None:
        if (begun := self._threads.reaper.begin()) is not None:
            await asyncio.wait((asyncio.wrap_future(begun),), timeout=_REAP_TIMEOUT)

    async def reap(self) -> None:
        reaping = asyncio.wrap_future(self._threads.reaper.delete_now())
        await asyncio.wait((reaping,), timeout=_REAP_TIMEOUT)

    async def remove_everything(self) -> None:
        await self._threads.run(self._worker.remove_everything)


class _Threads:
    """The ordered thread, the parallel thread and the reaper's thread, all in the host's namespace."""

    def __init__(self, netns: int | None) -> None:
        def enter() -> None:
            if netns is not None:
                libc.setns(netns, libc.CLONE_NEWNET)
            sysctl.keep_folder()

        self.reaper = Reaper()
        self._ordered = ThreadPoolExecutor(1, "kernel", enter)
        self._parallel = ThreadPoolExecutor(1, "conntrack", enter)
        # A daemon thread, so that a crash does not wait for it; the next start deletes the links that it leaves.
        self._reaping = threading.Thread(target=self.reaper.run, args=(enter,), name="reaper", daemon=True)
        self._reaping.start()

    async def run(self, body: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._ordered, _with_problems(body))

    async def run_in_parallel(self, body: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._parallel, _with_problems(body))

    async def close(self) -> None:
        self.reaper.close()
        await self.run_in_parallel(self._reaping.join)
        for executor in (self._parallel, self._ordered):
            executor.shutdown()


def _with_problems(body: Callable[[], T]) -> Callable[[], T]:
    """Return *body* with OSError, and RuntimeError of threads that cannot start, raised as Problems."""

    def run() -> T:
        try:
            return body()
        except (OSError, RuntimeError) as error:
            action = "cannot read or change the host's network"
            number = (error.errno if isinstance(error, OSError) else None) or 0
            raise resource_errors.problem(error, action) or KernelRefused(f"{action}: {error}", number) from error

    return run


def _with_high_descriptors(resolver: Resolver) -> Resolver:
    """Return the same sockets under high descriptor numbers, because low numbers are scarce."""
    udp, tcp = (socket.socket(fileno=move_high(opened.detach())) for opened in (resolver.udp, resolver.tcp))
    return Resolver(udp, tcp, move_high(resolver.netns))
