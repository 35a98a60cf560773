"""netd's client of netd-dns: finds or starts the server, sends it records and views, and restarts it after a crash.

The client keeps all records, views and copies of all sockets.  A server that was killed is replaced by one that gets
the same sockets and records: no port changes, and queries stay queued in the sockets meanwhile.  A server that
outlived netd hands the sockets to the next client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from netd.common.errors import Unavailable
from netd.common.tasks import Tasks
from netd.dns import protocol
from netd.dns.client.handshake import Handshake, close_resolver
from netd.dns.client.servers import Servers
from netd.dns.client.watchdog import until_hung
from netd.dns.protocol import Message, MessageSocket
from netd.dns.records import MutableRecords, NetworkRecords, Patch, View, difference
from netd.host_protocol import Resolver

log = logging.getLogger(__name__)

FLUSH_LIMIT = 0.5
"""Seconds for which the start of a container waits until netd-dns has applied its names."""
PRUNE_LIMIT = 10.0
"""Seconds for which the start of netd waits until netd-dns has applied all records."""
_DELAY = 0.02
"""Seconds after which new and deleted networks are sent, at the latest: no container is on them, and the request that
creates or deletes them need not wait for the server to be woken."""
_PAUSES = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before each attempt to restart the server; the last one repeats."""
_STEADY = 5.0
"""Seconds of uptime after which the pauses begin anew."""


class DnsClient:
    """Sends changes in order; ``flush`` returns when the server has applied them.

    ``held`` are the sandboxes that are served: after ``start``, those of a server that outlived the last netd.
    """

    def __init__(
        self,
        run_dir: Path,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        tasks: Tasks | None = None,
        low_latency: bool = False,
    ) -> None:
        self._tasks = tasks or Tasks()
        self._servers = Servers(run_dir / "dns.sock", run_dir / "dns.log", resolv_conf)
        self._settings = protocol.Configure(low_latency)
        self._networks: dict[str, MutableRecords] = {}
        self._views: dict[str, View] = {}
        self._sandboxes: dict[str, Resolver] = {}
        self._unconfirmed: set[str] = set()
        self._connection: MessageSocket | None = None
        self._lost = asyncio.Event()
        self._pushing = False
        """A call of ``_push`` is scheduled on the event loop."""
        self._blocked = False
        """The socket is full; the rest is sent when it is writable."""
        self._syncs: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._confirmed = 0
        """The number of the last Synced."""
        self.counters: Mapping[str, Any] = {}
        """netd-dns's counters at its last confirmation, at most two seconds ago (``netd/dns/dns_counters.py``)."""
        self._is_late = False
        """A flush has timed out since the last Synced; until the next Synced, flushes fail at once."""
        self.flush_timed_out = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    @property
    def held(self) -> Set[str]:
        return self._sandboxes.keys()

    async def start(self) -> None:
        """Connect to the server, starting one if necessary.  Raises Unavailable if a new one does not respond."""
        await self._connect(adopt=True)
        self._running = [
            self._tasks.loop(self._keep_connected, "dns-link"),
            self._tasks.loop(self._replace_hung, "dns-watchdog"),
        ]

    async def open_sandbox(self, sandbox: str, resolver: Resolver) -> None:
        """Send the sockets of a sandbox, which the client owns from now on.  It is served from its first view on."""
        self._close_sockets(sandbox)
        self._sandboxes[sandbox] = resolver
        self._send(protocol.OpenSandbox(sandbox), _descriptors(resolver))

    async def close_sandbox(self, sandbox: str) -> None:
        """Stop serving a sandbox; may be repeated."""
        if sandbox in self._sandboxes:
            self._send(protocol.CloseSandbox(sandbox))
        self._views.pop(sandbox, None)
        self._close_sockets(sandbox)

    def configure(self, low_latency: bool) -> None:
        """Change the settings of the server."""
        settings = protocol.Configure(low_latency)
        if settings != self._settings:
            self._settings = settings
            self._send(settings)

    def set_network(self, network: str, records: NetworkRecords) -> None:
        """Replace the records of a network; only the difference is sent."""
        self._unconfirmed.discard(network)
        mutable = self._networks.get(network)
        if mutable is None or (mutable.records.name, mutable.records.subnets) != (records.name, records.subnets):
            self._networks[network] = MutableRecords(records)
            self._send(protocol.SetNetwork(network, records), delay=_DELAY)
            return
        patch = difference(mutable.records, records)
        if patch:
            self.patch_network(network, patch)

    def patch_network(self, network: str, patch: Patch) -> None:
        """Apply *patch* to a network that was set; the cost depends on the patch only."""
        self._networks[network].apply(patch)
        self._send(protocol.PatchNetwork(network, patch))

    def drop_network(self, network: str) -> None:
        if self._networks.pop(network, None) is not None:
            self._send(protocol.DropNetwork(network), delay=_DELAY)

    def set_view(self, sandbox: str, view: View) -> None:
        """Replace the view of a sandbox."""
        if self._views.get(sandbox) != view:
            self._views[sandbox] = view
            self._send(protocol.SetView(sandbox, view))

    async def flush(self, limit: float | None = None) -> None:
        """Return when the server has applied all earlier changes, also across a restart of the server.

        Raises Unavailable after *limit* seconds (default ``FLUSH_LIMIT``), and at once if an earlier flush timed out
        and the server has not responded since; the changes are applied later.
        """
        loop = asyncio.get_running_loop()
        self._number += 1
        number, confirmed = self._number, loop.create_future()
        self._syncs[number] = confirmed
        if limit is None:
            limit = 0.0 if self._is_late else FLUSH_LIMIT
        timer = loop.call_later(limit, self._time_out, confirmed)
        self._send(protocol.Sync(number))
        self._push()
        try:
            await confirmed
        finally:
            timer.cancel()
            del self._syncs[number]

    async def prune(self) -> None:
        """Delete networks and sandboxes of a server that outlived netd which were not set since ``start``."""
        for network in self._unconfirmed:
            self._send(protocol.DropNetwork(network))
        self._unconfirmed.clear()
        for sandbox in self.held - self._views.keys():
            await self.close_sandbox(sandbox)
        try:
            await self.flush(PRUNE_LIMIT)
        except Unavailable as problem:
            log.error("netd-dns is late: error=%s", problem.message)

    def ping(self) -> Callable[[], bool]:
        """Send a Sync; return a function that returns True once it is confirmed or the connection has changed."""
        self._number += 1
        connection, number = self._connection, self._number
        self._send(protocol.Sync(number))
        return lambda: connection is None or self._connection is not connection or self._confirmed >= number

    def progress(self) -> Hashable:
        """Return a value that changes while the server reads or confirms."""
        return self._confirmed, self._connection.sent if self._connection is not None else 0

    async def close(self, stop_server: bool) -> None:
        """Disconnect; the server keeps running unless *stop_server*."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        connection = self._detach()
        if stop_server:
            await self._servers.stop(connection)
        elif connection is not None:
            await self._servers.detach(connection)
        for sandbox in list(self.held):
            self._close_sockets(sandbox)
        for confirmed in self._syncs.values():
            self._time_out(confirmed)

    def _close_sockets(self, sandbox: str) -> None:
        """Close the client's copies of a sandbox's sockets."""
        resolver = self._sandboxes.pop(sandbox, None)
        if resolver is not None:
            close_resolver(resolver)

    def _send(self, message: Message, descriptors: Sequence[int] = (), *, delay: float = 0.0) -> None:
        """Queue a message for the next ``_push``; without a connection, ``_resend_state`` sends the state later.

        The next push is at most *delay* seconds away.
        """
        if self._connection is None:
            return
        self._connection.queue(message, descriptors)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._push)
            return
        if not self._pushing:
            self._pushing = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        self._pushing = False
        if self._connection is None:
            return
        try:
            all_sent = self._connection.push()
        except OSError as problem:
            self._disconnect(problem)
            return
        if all_sent == self._blocked:
            loop, self._blocked = asyncio.get_running_loop(), not all_sent
            if self._blocked:
                loop.add_writer(self._connection.sock, self._push)
            else:
                loop.remove_writer(self._connection.sock)

    def _time_out(self, confirmed: asyncio.Future[None]) -> None:
        if not confirmed.done():
            confirmed.set_exception(self._servers.unresponsive())
            self._is_late = True
            self.flush_timed_out.set()

    def _receive(self) -> None:
        try:
            for message, _ in self._connection.receive() if self._connection is not None else ():
                if isinstance(message, protocol.Synced):
                    self.counters = message.counters
                    self._confirm(message.number)
        except (EOFError, ValueError, OSError) as problem:
            self._disconnect(problem)

    def _confirm(self, number: int) -> None:
        self._confirmed, self._is_late = number, False
        confirmed = self._syncs.get(number)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    def _disconnect(self, reason: Exception) -> None:
        log.warning("connection to netd-dns lost: error=%s", reason)
        connection = self._detach()
        if connection is not None:
            connection.close()
        self._lost.set()

    def _detach(self) -> MessageSocket | None:
        connection, self._connection = self._connection, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection.sock)
            asyncio.get_running_loop().remove_writer(connection.sock)
        return connection

    async def _keep_connected(self) -> None:
        """Reconnect whenever the connection is lost, with growing pauses if the server keeps exiting."""
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
                log.error("netd-dns not restarted: error=%s", problem)
                self._lost.set()

    async def _replace_hung(self) -> None:
        """Kill a server that hangs; ``_keep_connected`` starts another one."""
        while True:
            await until_hung(self)
            log.error("netd-dns hangs and is replaced")
            connection = self._connection
            await self._servers.kill()
            if connection is not None and self._connection is connection:
                self._disconnect(TimeoutError("netd-dns does not respond"))

    async def _connect(self, adopt: bool) -> None:
        """Connect to a server of this version and send all state; *adopt* keeps sandboxes unknown to the client."""
        connection, handshake = await self._servers.connect()
        self._keep_sockets(handshake, adopt)
        if handshake.version != self._servers.version:
            connection, handshake = await self._servers.replace(connection)
        self._connection, self._blocked = connection, False
        self._resend_state(handshake, adopt)
        asyncio.get_running_loop().add_reader(connection.sock, self._receive)
        self._push()

    def _keep_sockets(self, handshake: Handshake, adopt: bool) -> None:
        for sandbox, resolver in handshake.held.items():
            if adopt and sandbox not in self._sandboxes:
                self._sandboxes[sandbox] = resolver
            else:
                close_resolver(resolver)

    def _resend_state(self, handshake: Handshake, adopt: bool) -> None:
        """Send all state to a server that may have a part of it."""
        self._send(self._settings)
        unknown = set(handshake.networks) - self._networks.keys()
        if adopt:
            self._unconfirmed = unknown
        for network in () if adopt else unknown:
            self._send(protocol.DropNetwork(network))
        for sandbox in handshake.held.keys() - self._sandboxes.keys():
            self._send(protocol.CloseSandbox(sandbox))
        for network, mutable in self._networks.items():
            self._send(protocol.SetNetwork(network, mutable.records))
        for sandbox, resolver in self._sandboxes.items():
            if sandbox not in handshake.held:
                self._send(protocol.OpenSandbox(sandbox), _descriptors(resolver))
            if sandbox in self._views:
                self._send(protocol.SetView(sandbox, self._views[sandbox]))
        for number in self._syncs:
            self._send(protocol.Sync(number))


def _descriptors(resolver: Resolver) -> tuple[int, int, int]:
    return resolver.udp.fileno(), resolver.tcp.fileno(), resolver.netns
