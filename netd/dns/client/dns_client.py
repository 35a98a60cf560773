"""netd's side of its name server: finds or starts it, tells it what is, and brings it back when it dies.

The link remembers everything it was told and keeps copies of all sockets.  A server that was killed is replaced by
one that gets the same sockets and records: no port changes, and questions wait in the sockets meanwhile.  A server
that outlived netd hands the sockets to the next link.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from netd.common.errors import Unavailable
from netd.common.tasks import Tasks
from netd.dns import protocol
from netd.dns.client.handshake import Handshake, close_resolver
from netd.dns.client.servers import Servers
from netd.dns.client.watchdog import until_hung
from netd.dns.protocol import Message, Pipe
from netd.dns.records import MutableRecords, NetworkRecords, Patch, View, difference
from netd.host_protocol import Resolver

log = logging.getLogger(__name__)

FLUSH_LIMIT = 0.5
"""Seconds for which a container's start waits until its names are in force."""
SETTLE_LIMIT = 10.0
"""The same for the start of netd, when everything is told."""
_PAUSES = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before each new try to bring a server back; the last repeats."""
_STEADY = 5.0
"""Seconds of life after which a server's end is no longer held against the next one."""


class DnsClient:
    """Said in order, done in order; ``flush`` returns when it is done.

    ``held`` are the sandboxes that are being served: after ``start`` those of a server that outlived the last netd.
    """

    def __init__(self, run_dir: Path, resolv_conf: Path = Path("/etc/resolv.conf"), tasks: Tasks | None = None) -> None:
        self._tasks = tasks or Tasks()
        self._servers = Servers(run_dir / "dns.sock", run_dir / "dns.log", resolv_conf)
        self._networks: dict[str, MutableRecords] = {}
        self._views: dict[str, View] = {}
        self._sandboxes: dict[str, Resolver] = {}
        self._unmentioned: set[str] = set()
        self._pipe: Pipe | None = None
        self._lost = asyncio.Event()
        self._pushing = False
        """A push at the end of this turn has been asked for."""
        self._blocked = False
        """The rest goes when the server has read."""
        self._syncs: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._confirmed = 0
        """The last number that the server confirmed."""
        self._is_late = False
        """Somebody waited in vain since then: nobody else does, until it answers."""
        self.doubted = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    @property
    def held(self) -> set[str]:
        return set(self._sandboxes)

    async def start(self) -> None:
        """Connect to the server, started if need be.  Raises Unavailable when none can be made to answer."""
        await self._connect(adopt=True)
        self._running = [
            self._tasks.loop(self._keep, "dns-link"),
            self._tasks.loop(self._watch, "dns-watchdog"),
        ]

    async def open_sandbox(self, sandbox: str, resolver: Resolver) -> None:
        """Hand a sandbox's sockets over; they are the link's from now on.  It answers from its first view on."""
        self._let_go(sandbox)
        self._sandboxes[sandbox] = resolver
        self._say(protocol.OpenSandbox(sandbox), _descriptors(resolver))

    async def close_sandbox(self, sandbox: str) -> None:
        """Stop serving a sandbox; repeating it is harmless."""
        if sandbox in self._sandboxes:
            self._say(protocol.CloseSandbox(sandbox))
        self._views.pop(sandbox, None)
        self._let_go(sandbox)

    def set_network(self, network: str, records: NetworkRecords) -> None:
        """Make *records* what the network has; only the difference travels."""
        self._unmentioned.discard(network)
        ledger = self._networks.get(network)
        if ledger is None or (ledger.records.name, ledger.records.subnets) != (records.name, records.subnets):
            self._networks[network] = MutableRecords(records)
            self._say(protocol.SetNetwork(network, records))
            return
        patch = difference(ledger.records, records)
        if patch:
            self.patch_network(network, patch)

    def patch_network(self, network: str, patch: Patch) -> None:
        """Change some records of a network that was set; costs little however much the network holds."""
        self._networks[network].apply(patch)
        self._say(protocol.PatchNetwork(network, patch))

    def drop_network(self, network: str) -> None:
        if self._networks.pop(network, None) is not None:
            self._say(protocol.DropNetwork(network))

    def set_view(self, sandbox: str, view: View) -> None:
        """Change what a sandbox sees."""
        if self._views.get(sandbox) != view:
            self._views[sandbox] = view
            self._say(protocol.SetView(sandbox, view))

    async def flush(self, limit: float | None = None) -> None:
        """Return when all that was said is in force, through a replacement of the server if one is under way.

        Raises Unavailable when that takes longer than *limit* seconds (``FLUSH_LIMIT``), and at once while a server is
        known to be late; what was said stays said, and is in force some time.
        """
        loop = asyncio.get_running_loop()
        self._number += 1
        number, confirmed = self._number, loop.create_future()
        self._syncs[number] = confirmed
        if limit is None:
            limit = 0.0 if self._is_late else FLUSH_LIMIT
        timer = loop.call_later(limit, self._give_up, confirmed)
        self._say(protocol.Sync(number))
        self._push()
        try:
            await confirmed
        finally:
            timer.cancel()
            del self._syncs[number]

    async def settle(self) -> None:
        """Forget what a server that outlived netd holds and nobody has spoken of since ``start``."""
        for network in self._unmentioned:
            self._say(protocol.DropNetwork(network))
        self._unmentioned.clear()
        for sandbox in self.held - self._views.keys():
            await self.close_sandbox(sandbox)
        try:
            await self.flush(SETTLE_LIMIT)
        except Unavailable as problem:
            log.error("event=dns-late reason=%s", problem.message)

    def ping(self) -> Callable[[], bool]:
        """Ask for a sign of life, as ``watchdog`` does."""
        self._number += 1
        pipe, number = self._pipe, self._number
        self._say(protocol.Sync(number))
        return lambda: pipe is None or self._pipe is not pipe or self._confirmed >= number

    def progress(self) -> Hashable:
        return self._confirmed, self._pipe.sent if self._pipe is not None else 0

    async def close(self, stop_server: bool) -> None:
        """Leave; the server goes on answering unless *stop_server*."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        pipe = self._detach()
        if stop_server:
            await self._servers.stop(pipe)
        elif pipe is not None:
            await self._servers.part(pipe)
        for sandbox in self.held:
            self._let_go(sandbox)
        for confirmed in self._syncs.values():
            self._give_up(confirmed)

    def _let_go(self, sandbox: str) -> None:
        """Close our copies of a sandbox's sockets."""
        resolver = self._sandboxes.pop(sandbox, None)
        if resolver is not None:
            close_resolver(resolver)

    def _say(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send with whatever else is said in this turn; without a server it waits in what we remember."""
        if self._pipe is None:
            return
        self._pipe.queue(message, descriptors)
        if not self._pushing:
            self._pushing = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        self._pushing = False
        if self._pipe is None:
            return
        try:
            all_sent = self._pipe.push()
        except OSError as problem:
            self._break(problem)
            return
        if all_sent == self._blocked:
            loop, self._blocked = asyncio.get_running_loop(), not all_sent
            if self._blocked:
                loop.add_writer(self._pipe.sock, self._push)
            else:
                loop.remove_writer(self._pipe.sock)

    def _give_up(self, confirmed: asyncio.Future[None]) -> None:
        if not confirmed.done():
            confirmed.set_exception(self._servers.silent())
            self._is_late = True
            self.doubted.set()

    def _listen(self) -> None:
        try:
            for message, _ in self._pipe.receive() if self._pipe is not None else ():
                if isinstance(message, protocol.Synced):
                    self._confirm(message.number)
        except (EOFError, ValueError, OSError) as problem:
            self._break(problem)

    def _confirm(self, number: int) -> None:
        self._confirmed, self._is_late = number, False
        confirmed = self._syncs.get(number)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    def _break(self, reason: Exception) -> None:
        log.warning("event=dns-lost reason=%s", reason)
        pipe = self._detach()
        if pipe is not None:
            pipe.close()
        self._lost.set()

    def _detach(self) -> Pipe | None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            asyncio.get_running_loop().remove_reader(pipe.sock)
            asyncio.get_running_loop().remove_writer(pipe.sock)
        return pipe

    async def _keep(self) -> None:
        """Bring the server back whenever it is lost, more slowly when it keeps dying."""
        tries, since = 0, time.monotonic()
        while True:
            await self._lost.wait()
            self._lost.clear()
            if time.monotonic() - since > _STEADY:
                tries = 0
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries, since = tries + 1, time.monotonic()
            try:
                await self._connect(adopt=False)
            except (Unavailable, OSError) as problem:
                log.error("event=dns-not-back reason=%s", problem)
                self._lost.set()

    async def _watch(self) -> None:
        """End a server that hangs; the keeper puts another in its place."""
        while True:
            await until_hung(self)
            log.error("event=dns-hung action=replace")
            pipe = self._pipe
            await self._servers.kill()
            if pipe is not None and self._pipe is pipe:
                self._break(TimeoutError("no sign of life"))

    async def _connect(self, adopt: bool) -> None:
        """Meet a server of our version and tell it everything; *adopt* takes on the sandboxes that we do not know."""
        pipe, greeting = await self._servers.meet()
        self._take(greeting, adopt)
        if greeting.version != self._servers.version:
            pipe, greeting = await self._servers.replace(pipe)
        self._pipe, self._blocked = pipe, False
        self._retell(greeting, adopt)
        asyncio.get_running_loop().add_reader(pipe.sock, self._listen)
        self._push()

    def _take(self, greeting: Handshake, adopt: bool) -> None:
        for sandbox, resolver in greeting.held.items():
            if adopt and sandbox not in self._sandboxes:
                self._sandboxes[sandbox] = resolver
            else:
                close_resolver(resolver)

    def _retell(self, greeting: Handshake, adopt: bool) -> None:
        """Say everything that we remember to a server that may know part of it."""
        unknown = set(greeting.networks) - self._networks.keys()
        if adopt:
            self._unmentioned = unknown
        for network in () if adopt else unknown:
            self._say(protocol.DropNetwork(network))
        for sandbox in greeting.held.keys() - self._sandboxes.keys():
            self._say(protocol.CloseSandbox(sandbox))
        for network, ledger in self._networks.items():
            self._say(protocol.SetNetwork(network, ledger.records))
        for sandbox, resolver in self._sandboxes.items():
            if sandbox not in greeting.held:
                self._say(protocol.OpenSandbox(sandbox), _descriptors(resolver))
            if sandbox in self._views:
                self._say(protocol.SetView(sandbox, self._views[sandbox]))
        for number in self._syncs:
            self._say(protocol.Sync(number))


def _descriptors(resolver: Resolver) -> tuple[int, int, int]:
    return resolver.udp.fileno(), resolver.tcp.fileno(), resolver.netns
