"""The door to the kernel: :class:`netd.host_protocol.Host`, done.

Owns three threads: one does everything in order, one forgets connections beside that, one removes what is slow to
remove.  A host is bound to one network namespace for life.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from netd.common import resource_errors
from netd.common.addresses import Address, Subnet
from netd.common.errors import KernelRefused
from netd.facts import State, Step
from netd.host_protocol import Change, ConnectionCounts, ConnectionTable, Flows, Resolver, RouteEntry
from netd.kernel import conntrack_count, machine
from netd.kernel.conntrack import Conntrack
from netd.kernel.links.link_reaper import Reaper
from netd.kernel.namespaces import libc
from netd.kernel.netlink.rtnl_socket import index_of
from netd.kernel.netlink.watch import KernelWatch, Seen
from netd.kernel.ports.high_descriptors import lift
from netd.kernel.worker import Worker
from netd.portmap.rules import Ruleset, RulesetChange

T = TypeVar("T")
_LONGEST_REAPING = 2.0
"""Seconds; the reaper goes on after it."""


class KernelHost:
    """Implements the protocol; see there for what the methods promise."""

    def __init__(self, threads: _Threads, worker: Worker, conntrack: Conntrack, watch: KernelWatch) -> None:
        self._threads = threads
        self._worker = worker
        self._conntrack = conntrack
        self._watch = watch

    @classmethod
    async def open(
        cls,
        run_dir: Path,
        *,
        netns: int | None = None,
        firewall: str = "auto",
    ) -> Self:
        """Take hold of the network namespace that the process is in, or of the one whose descriptor *netns* is.

        Clears what a killed predecessor left half removed; touches nothing else.  Raises KernelRefused when the
        kernel lacks what netd needs.
        """
        threads = _Threads(netns)
        try:
            worker = await threads.run(lambda: Worker(run_dir, threads.reaper, firewall))
            conntrack = await threads.run_beside(Conntrack)
            watch = await threads.run(KernelWatch)
        except BaseException:
            await threads.close()
            raise
        watch.start()
        return cls(threads, worker, conntrack, watch)

    async def close(self) -> None:
        """Stop listening, wait for what is being removed, let go of the threads.  What was made stays."""
        self._watch.close()
        await self._threads.run_beside(self._conntrack.close)
        await self._threads.run(self._worker.close)
        await self._threads.close()

    async def observe(self) -> State:
        return await self._threads.run(self._worker.observe)

    async def apply(self, steps: Sequence[Step]) -> None:
        await self._threads.run(lambda: self._worker.apply(steps))

    async def change_firewall(self, change: RulesetChange) -> None:
        await self._threads.run(lambda: self._worker.firewall.change(change))

    async def update_firewall(self, rules: Ruleset) -> None:
        await self._threads.run(lambda: self._worker.firewall.update(rules))

    async def reset_firewall(self, rules: Ruleset) -> None:
        await self._threads.run(lambda: self._worker.firewall.reset(rules))

    async def open_resolver(self, sandbox: str) -> Resolver:
        return _lifted(await self._threads.run(lambda: self._worker.open_resolver(sandbox)))

    async def move_resolver(self, sandbox: str) -> Resolver | None:
        if await self._threads.run(lambda: self._worker.resolver_leads(sandbox)):
            return None
        return _lifted(await self._threads.run(lambda: self._worker.move_resolver(sandbox)))

    async def delete_flows(self, flows: Flows) -> None:
        """Takes 12 ms and more; nothing else waits for it."""
        await self._threads.run_beside(lambda: self._conntrack.forget(flows))

    async def adopt_namespace(self, sandbox: str, path: str) -> None:
        await self._threads.run(lambda: self._worker.sandboxes.take(sandbox, path))

    async def delete_stray_connections(self, rules: Ruleset) -> int:
        return await self._threads.run_beside(lambda: self._conntrack.delete_stray_connections(rules))

    async def connection_table(self) -> ConnectionTable:
        return await self._threads.run_beside(conntrack_count.table)

    async def sample_connections(self, entries: int) -> ConnectionCounts:
        return await self._threads.run_beside(lambda: conntrack_count.sample(entries))

    async def count_connections(self, sources: Collection[Address], most: int) -> ConnectionCounts:
        return await self._threads.run_beside(lambda: conntrack_count.count(sources, most))

    def namespace_path(self, sandbox: str) -> Path:
        return self._worker.sandboxes.path(sandbox)

    async def used_subnets(self) -> Sequence[Subnet]:
        return await self._threads.run(self._worker.used_subnets)

    async def routes(self) -> Sequence[RouteEntry]:
        return await self._threads.run(self._worker.routes)

    async def wait_for_route_change(self) -> None:
        await self._watch.route_changed.wait()
        self._watch.route_changed.clear()

    async def mtu(self, link: str = "") -> int:
        return await self._threads.run(lambda: self._worker.mtu(link))

    async def has_link(self, name: str) -> bool:
        return await self._threads.run(lambda: index_of(name) is not None)

    def boot_id(self) -> str:
        return machine.boot_id()

    def hostname(self) -> str:
        return machine.hostname()

    async def changes(self) -> AsyncIterator[Change]:
        """Yield what others changed; to be consumed by one.  What happens between two steps is told once."""
        while (seen := await self._look()) is not None:
            for change in await self._judge(seen):
                yield change

    async def _look(self) -> Seen | None:
        """Return what happened, as soon as something does, or when it is time to look at what nobody tells of."""
        every = self._worker.firewall.look_every
        try:
            async with asyncio.timeout(every):
                return await self._watch.wait()
        except TimeoutError:
            return Seen()

    async def _judge(self, seen: Seen) -> list[Change]:
        """In order with our own changes, so that these are over when a link is looked at."""
        changes = [Change("lost")] if seen.lost else []
        names = [name for name in seen.links if self._worker.is_known(name)]
        if names or seen.indices:
            changes += await self._threads.run(lambda: self._worker.deviating(names, seen.indices))
        if (
            seen.table
            or await self._damaged()
            or (seen.forwarding and await self._threads.run(self._worker.forwarding_lost))
        ):
            changes.append(Change("firewall"))
        return changes

    async def _damaged(self) -> bool:
        firewall = self._worker.firewall
        return firewall.look_every is not None and await self._threads.run(firewall.damaged)

    async def reap(self) -> None:
        reaping = asyncio.wrap_future(self._threads.reaper.finish())
        await asyncio.wait((reaping,), timeout=_LONGEST_REAPING)

    async def remove_everything(self) -> None:
        await self._threads.run(self._worker.remove_everything)


class _Threads:
    """One ordered thread, one beside it, and the reaper's, all in the host's namespace."""

    def __init__(self, netns: int | None) -> None:
        def enter() -> None:
            if netns is not None:
                libc.setns(netns, libc.CLONE_NEWNET)

        self.reaper = Reaper()
        self._ordered = ThreadPoolExecutor(1, "kernel", enter)
        self._beside = ThreadPoolExecutor(1, "flows", enter)
        # A daemon thread: a crash must not wait for it, and what it leaves is cleared at the next start.
        self._reaping = threading.Thread(target=self.reaper.work, args=(enter,), name="reaper", daemon=True)
        self._reaping.start()

    async def run(self, body: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._ordered, _telling(body))

    async def run_beside(self, body: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._beside, _telling(body))

    async def close(self) -> None:
        self.reaper.close()
        await self.run_beside(self._reaping.join)
        for executor in (self._beside, self._ordered):
            executor.shutdown()


def _telling(body: Callable[[], T]) -> Callable[[], T]:
    """Return *body* with the errors of the operating system, and threads that cannot be started, as Problems."""

    def telling() -> T:
        try:
            return body()
        except (OSError, RuntimeError) as error:
            what = "cannot look at or change the host's network"
            number = (error.errno if isinstance(error, OSError) else None) or 0
            raise resource_errors.problem(error, what) or KernelRefused(f"{what}: {error}", number) from error

    return telling


def _lifted(given: Resolver) -> Resolver:
    """Return the same sockets under high numbers, because low ones are scarce."""
    udp, tcp = (socket.socket(fileno=lift(opened.detach())) for opened in (given.udp, given.tcp))
    return Resolver(udp, tcp, lift(given.netns))
