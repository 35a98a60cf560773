"""UDP ports from which queries are sent to upstream servers, in one network namespace each.

A response is accepted only on the port of its query, from the server's address (the sockets are connected), with the
query's random id and its question in identical case (RFC 5452; the comparison is the caller's).  Ports are chosen at
random by the kernel.  A query has a port of its own, except for those beyond ``OWN_PORTS`` to one server within
``WINDOW``, and those of the window after it: they are sent from one of ``SHARED_PORTS`` ports, chosen at random, each
of which serves at most ``PORT_QUERIES`` queries and ``PORT_SECONDS``.  Queries that are sent in one round share a port,
so that one system call sends them, and few calls receive their responses: few shared ports that are soon used up cost
less than many that stay open longer, and a forger has no more time or chances.  No id is used twice on a port.  A port
is closed with its last pending query: the socket is disconnected, emptied, and connected to another random port for
later queries.  This costs half of a new socket, and no thread in the namespace of a container.

Limits on pending queries are the caller's.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from netd.dns.event_loop import READ, Loop
from netd.dns.forwarding.port_batches import BATCHES, MOST
from netd.dns.forwarding.quick_query import QuickQuery
from netd.dns.forwarding.random_bytes import RANDOM
from netd.dns.records import Upstream

PORT = 53
OWN_PORTS = 50
WINDOW = 0.05
"""Seconds."""
SHARED_PORTS = 8
PORT_QUERIES = 32
PORT_SECONDS = 1.0
SWEEP = 2.0
"""Seconds between two passes that close sockets without use."""
_MOST_AT_ONCE = 8
"""Sockets that one call opens: in the namespace of a container the call needs a thread."""
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EADDRNOTAVAIL))
"""Errors of the local host: no free descriptors, memory or ports."""
_UNSPECIFIED = bytes(16)
"""A sockaddr of family AF_UNSPEC: connect(2) with it disconnects, which also releases a port chosen by the kernel."""
_libc_connect = ctypes.CDLL(None).connect
_libc_connect.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

OpenSockets: TypeAlias = Callable[[int, int], "list[socket.socket]"]
"""Opens non-blocking UDP sockets in the namespace; called with the address family and the number of sockets."""


class Query(Protocol):
    """A query that waits for its response."""

    def received(self, packet: bytes) -> None:
        """Called with each packet from the server that has the query's id."""

    def refused(self) -> None:
        """Called if an ICMP error has arrived for the port; no response follows."""


class _Server:
    """The state of a server: its pending queries, and the ports that several queries share."""

    __slots__ = ("address", "count", "family", "own", "pending", "shared", "window_end")

    def __init__(self, upstream: Upstream) -> None:
        self.address = (upstream.address, PORT)
        self.family = family_of(upstream)
        self.pending = 0
        self.count = 0
        """Queries in the current window."""
        self.own = 0
        """Queries in the current window that may still get a port of their own."""
        self.window_end = 0.0
        self.shared: list[Port | None] = [None] * SHARED_PORTS


class Port:
    """A socket; from the connection to *server* until the release it is a port."""

    __slots__ = ("expires", "family", "is_shared", "pending", "queries", "server", "sock")

    def __init__(self, sock: socket.socket, family: int) -> None:
        self.sock = sock
        self.family = family
        self.server: _Server | None = None
        self.queries: dict[bytes, Query | QuickQuery | None] = {}
        """Id → query, or None if it has ended: all queries since the connection.  The next connection gets another."""
        self.pending = 0
        self.is_shared = False
        self.expires = 0.0


class Receiver:
    """Passes packets on to their queries.  The base class is for queries that are objects only."""

    def received(self, ports: UdpPorts, port: Port, packets: Sequence[bytes]) -> int:
        """Handle *packets*, which have arrived at *port*; return how many quick queries have ended."""
        queries = port.queries
        for packet in packets:
            query = queries.get(packet[:2])
            if query is not None and not isinstance(query, QuickQuery):
                query.received(packet)
        return 0

    def refused(self, query: QuickQuery) -> None:
        """Called if an ICMP error has arrived for the port of *query*; no response follows."""


class UdpPorts:
    """The ports of one namespace.  Owns the sockets."""

    def __init__(
        self,
        loop: Loop,
        open_sockets: OpenSockets,
        keep: int = 0,
        on_open: Callable[[], None] = lambda: None,
        receiver: Receiver | None = None,
    ) -> None:
        """*keep* disconnected sockets stay open when unused; *on_open* is called when sockets were opened."""
        self._loop = loop
        self._receiver = receiver or Receiver()
        self._open_sockets = open_sockets
        self._keep = keep
        self._on_open = on_open
        self._servers: dict[Upstream, _Server] = {}
        self._ports: set[Port] = set()
        self._idle: dict[int, list[Port]] = {socket.AF_INET: [], socket.AF_INET6: []}
        """Family → disconnected sockets."""
        self._unused = 0
        """The number of sockets that were idle all the time since the last sweep."""

    def __len__(self) -> int:
        """Return the number of open sockets."""
        return len(self._ports)

    def send(self, upstream: Upstream, question: bytes, query: Query) -> tuple[Port, bytes]:
        """Send *question* (a packet without its id) from a random port with a random id; return port and packet.

        Raises OSError if no socket can be opened or the packet cannot be sent.
        """
        server = self._server(upstream)
        port = self._choose(server)
        try:
            packet = _send(port, question)
        except OSError as problem:
            self._fail(port)
            if not isinstance(problem, ConnectionRefusedError):
                raise
            # The error belongs to earlier queries of a shared port.
            port = self._connect(server)
            packet = _send(port, question)
        port.queries[packet[:2]] = query
        port.pending += 1
        server.pending += 1
        return port, packet

    def send_quick(self, upstream: Upstream, queries: Sequence[QuickQuery]) -> tuple[list[Port], Sequence[QuickQuery]]:
        """Send the packets of *queries*, with random ids; return the ports, and the queries that could not be sent."""
        server = self._server(upstream)
        ports: list[Port] = []
        while queries:
            try:
                port = self._choose(server)
            except OSError:
                return ports, queries
            most = min(PORT_QUERIES - len(port.queries), MOST) if port.is_shared else 1
            group = queries[:most]
            if len(group) == 1:
                count = _send_single(port, group[0])
            else:
                count = BATCHES.send(port.sock, group, [query[0] for query in group], port.queries)
            port.pending += count
            server.pending += count
            if count:
                ports.append(port)
            else:
                self._fail(port)
            if count < len(group):
                return ports, queries[count:]
            queries = queries[most:]
        return ports, queries

    def end(self, port: Port, query_id: bytes, query: Query | QuickQuery) -> None:
        """End a query, if it has not ended yet; its id stays in use until the port is released."""
        if port.queries.get(query_id) is not query or port.server is None:
            return
        port.queries[query_id] = None
        port.pending -= 1
        port.server.pending -= 1
        if not port.pending and not port.is_shared:
            self._release(port)

    def sweep(self) -> bool:
        """Release shared ports that have expired and close unneeded sockets; return whether more can be closed."""
        now = time.monotonic()
        for upstream, server in tuple(self._servers.items()):
            for slot, port in enumerate(server.shared):
                if port is not None and now >= port.expires:
                    self._retire(server, slot, port)
            if not server.pending and not any(server.shared):
                del self._servers[upstream]
        for idle in self._idle.values():
            for _ in range(min(self._unused, len(idle), len(self._ports) - self._keep)):
                self._close(idle.pop())
        self._unused = self._idle_count()
        return len(self._ports) > self._keep

    def close(self) -> None:
        """Close all sockets; pending queries get no response."""
        for port in self._ports:
            self._loop.unwatch(port.sock.fileno())
            port.sock.close()
            port.queries.clear()
        self._ports.clear()
        self._servers.clear()
        self._idle = {family: [] for family in self._idle}

    def _server(self, upstream: Upstream) -> _Server:
        server = self._servers.get(upstream)
        if server is None:
            server = self._servers[upstream] = _Server(upstream)
        return server

    def _choose(self, server: _Server) -> Port:
        now = time.monotonic()
        if now >= server.window_end:
            is_flood = server.count > OWN_PORTS and now < server.window_end + WINDOW
            server.window_end, server.count, server.own = now + WINDOW, 0, 0 if is_flood else OWN_PORTS
        server.count += 1
        if server.own:
            server.own -= 1
            return self._connect(server)
        slot = RANDOM.take(1)[0] % SHARED_PORTS
        port = server.shared[slot]
        if port is not None:
            if len(port.queries) < PORT_QUERIES and now < port.expires:
                return port
            self._retire(server, slot, port)
        port = server.shared[slot] = self._connect(server)
        port.is_shared = True
        port.expires = now + PORT_SECONDS
        return port

    def _connect(self, server: _Server) -> Port:
        """Return a socket that is connected to *server* from a random port."""
        idle = self._idle[server.family]
        port = idle.pop() if idle else self._open(server)
        self._unused = min(self._unused, self._idle_count())
        port.server = server
        try:
            port.sock.connect(server.address)
        except OSError:
            self._release(port)
            raise
        return port

    def _open(self, server: _Server) -> Port:
        """Open sockets, more than one while others are in use, and return one of them; the others are idle.

        In the namespace of a container the thread takes longer than many a query.
        """
        count = _MOST_AT_ONCE if len(self._ports) >= max(1, self._keep) else 1
        ports = [Port(sock, server.family) for sock in self._open_sockets(server.family, count)]
        try:
            for port in ports:
                self._loop.watch(port.sock.fileno(), READ, partial(self._readable, port))
        except OSError:
            for port in ports:
                self._close(port)
            raise
        self._ports.update(ports)
        self._idle[server.family] += ports[1:]
        self._on_open()
        return ports[0]

    def _readable(self, port: Port, events: int) -> None:
        try:
            packets = BATCHES.receive(port.sock) if port.pending > 1 else (BATCHES.receive_first(port.sock),)
        except BlockingIOError:
            return
        except OSError:
            self._fail(port)
            return
        queries, server = port.queries, port.server
        ended = self._receiver.received(self, port, packets)
        if ended and server is not None and port.queries is queries:
            port.pending -= ended
            server.pending -= ended
            if not port.pending and not port.is_shared:
                self._loop.call_soon(partial(self._release_unused, port))

    def _release_unused(self, port: Port) -> None:
        """Release a port after the responses of its round were sent, unless it is in use again."""
        if port.server is not None and not port.pending and not port.is_shared:
            self._release(port)

    def _fail(self, port: Port) -> None:
        """Release a port after an ICMP error, which ends all its queries."""
        server = port.server
        if server is None:
            return
        if port.is_shared:
            server.shared[server.shared.index(port)] = None
        server.pending -= port.pending
        for query in port.queries.values():
            if isinstance(query, QuickQuery):
                self._loop.call_soon(partial(self._receiver.refused, query))
            elif query is not None:
                self._loop.call_soon(query.refused)
        self._release(port)

    def _retire(self, server: _Server, slot: int, port: Port) -> None:
        """Send no more queries from a shared port; it is released with its last pending query."""
        server.shared[slot] = None
        port.is_shared = False
        if not port.pending:
            self._release(port)

    def _release(self, port: Port) -> None:
        """Disconnect the socket, which closes the port, and discard what it has received."""
        port.server = None
        port.queries.clear()
        port.queries = {}
        port.pending = 0
        port.is_shared = False
        if _libc_connect(port.sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED)):
            self._close(port)
            return
        while not _is_empty(port.sock):
            pass
        self._idle[port.family].append(port)

    def _close(self, port: Port) -> None:
        self._ports.discard(port)
        self._loop.unwatch(port.sock.fileno())
        port.sock.close()

    def _idle_count(self) -> int:
        return sum(map(len, self._idle.values()))


def _is_empty(sock: socket.socket) -> bool:
    """Read a packet or an error; return True if there was none."""
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _send(port: Port, question: bytes) -> bytes:
    """Send *question* with an id that is new on the port; return the packet."""
    while (query_id := RANDOM.take(2)) in port.queries:
        pass
    packet = query_id + question
    port.sock.send(packet)
    return packet


def _send_single(port: Port, query: QuickQuery) -> int:
    """Send a quick query; return 1, or 0 after an error."""
    try:
        packet = _send(port, query.sent)
    except OSError:
        return 0
    port.queries[packet[:2]] = query
    return 1


def family_of(upstream: Upstream) -> int:
    return socket.AF_INET6 if ":" in upstream.address else socket.AF_INET


def is_shortage(problem: OSError) -> bool:
    """Return True if a query was not sent for lack of resources of the local host."""
    return problem.errno in _SHORTAGES
