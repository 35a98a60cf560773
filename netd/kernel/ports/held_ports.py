"""Reservation of host ports against the host's own programs, by sockets.

A held port is a bound socket that never listens: it receives nothing, and other programs that bind the port get
EADDRINUSE.  Two kinds of ports are only checked, not held: ranges of more than HOLD_LIMIT ports, to save descriptors,
and sctp if the kernel has no SCTP sockets, which no program can open then.  A program can bind such a port later,
but packets to the port still go to the container.  Must not choose ports; :mod:`netd.portmap.ports` does.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Container
from functools import partial
from pathlib import Path

from netd.common.addresses import Address
from netd.common.errors import ServerError
from netd.kernel.high_descriptors import move_high
from netd.kernel.ports.listeners import ports_in_use
from netd.kernel.ports.owners import owner
from netd.model import Publication
from netd.portmap import port_spec
from netd.portmap.holder import HOLD_LIMIT, InUse

_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_NO_SUCH_SOCKETS = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)


class HeldPorts:
    """The sockets of all held ports."""

    def __init__(self) -> None:
        self._descriptors: dict[tuple[str, Address, int], int] = {}

    def ephemeral(self) -> tuple[int, int, frozenset[int]]:
        """Return the first and last port of the range to choose from, and the ports in it that are reserved."""
        settings = Path("/proc/sys/net/ipv4")
        first, last = (settings / "ip_local_port_range").read_text().split()
        texts = (settings / "ip_local_reserved_ports").read_text().strip().split(",")
        ranges = (port_spec.bounds(text) for text in texts if text)
        reserved = (port for low, high in ranges for port in range(low, high + 1))
        return int(first), int(last), frozenset(reserved)

    def hold(self, publication: Publication) -> None:
        """Hold all ports of *publication*, or none and raise InUse; more than HOLD_LIMIT ports are only checked."""
        if publication.count > HOLD_LIMIT:
            check(publication)
            return
        done = []
        try:
            for port in range(publication.port, publication.last + 1):
                key = (publication.protocol, publication.address, port)
                if (found := _bound(*key)) is None:
                    return
                self._descriptors[key] = move_high(found.detach())
                done.append(key)
        except BaseException:
            for key in done:
                os.close(self._descriptors.pop(key))
            raise

    def release(self, publication: Publication, keep: Container[int] = ()) -> None:
        """Close the sockets of the held ports of *publication*, except those in *keep*."""
        for port in range(publication.port, publication.last + 1):
            if port in keep:
                continue
            if (found := self._descriptors.pop((publication.protocol, publication.address, port), None)) is not None:
                os.close(found)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def check(wanted: Publication) -> None:
    """Raise InUse for the first port that a program of the host uses."""
    for port in sorted(ports_in_use(wanted.protocol)):
        found = _bound(wanted.protocol, wanted.address, port) if wanted.port <= port <= wanted.last else None
        if found is not None:
            found.close()


def _bound(protocol: str, address: Address, port: int) -> socket.socket | None:
    """Return a socket that holds the port; None if the kernel has no sockets of the protocol."""
    try:
        found = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, *_KINDS[protocol])
    except OSError as problem:
        if problem.errno in _NO_SUCH_SOCKETS:
            return None
        raise _error(problem, address, port, protocol) from problem
    try:
        if address.version == 6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # With SO_REUSEADDR, connections in TIME_WAIT do not prevent the bind.  Without it afterwards, other sockets
            # cannot bind the port.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((str(address), port))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        elif protocol == "sctp":
            found.bind((str(address), port))
        else:
            found.bind((str(address), port))
            # Datagrams that arrive before the firewall's rules are in place would only use memory.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    except OSError as problem:
        found.close()
        raise _error(problem, address, port, protocol) from problem
    return found


def _error(problem: OSError, address: Address, port: int, protocol: str) -> Exception:
    name = f"{address}:{port}/{protocol}"
    if problem.errno == errno.EADDRINUSE:
        return InUse(address, port, protocol, partial(owner, protocol, address, port))
    if problem.errno == errno.EADDRNOTAVAIL:
        return ServerError(
            f"failed to bind host port {name}: cannot assign requested address: the host does not have {address}"
        )
    return ServerError(f"failed to bind host port {name}: {problem.strerror}")
