"""Holding host ports against the host's own programs, and asking which of them those use.

A held port is a bound socket that never listens: nothing is ever received on it, and whoever else wants the port is
told that it is in use.  Not held, only asked about: runs of more than HOLD_LIMIT ports, so that a range of thousands
costs no descriptors, and sctp where the kernel has no such sockets, which then nobody can have.  A program that binds
such a port later gets it, and what the host sends and receives there goes to the container all the same.
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
from netd.kernel.ports.high_descriptors import lift
from netd.kernel.ports.listeners import ports_in_use
from netd.kernel.ports.owners import owner
from netd.model import Publication
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
        spans = (
            span.partition("-")
            for span in (settings / "ip_local_reserved_ports").read_text().strip().split(",")
            if span
        )
        reserved = (port for low, _, high in spans for port in range(int(low), int(high or low) + 1))
        return int(first), int(last), frozenset(reserved)

    def hold(self, wanted: Publication) -> None:
        """Hold every port of *wanted*, or none and raise InUse; where they are many, only see that they are free."""
        if wanted.count > HOLD_LIMIT:
            check(wanted)
            return
        done = []
        try:
            for port in range(wanted.port, wanted.last + 1):
                key = (wanted.protocol, wanted.address, port)
                if (found := _bound(*key)) is None:
                    return
                self._descriptors[key] = lift(found.detach())
                done.append(key)
        except BaseException:
            for key in done:
                os.close(self._descriptors.pop(key))
            raise

    def release(self, given: Publication, but: Container[int] = ()) -> None:
        """Close the sockets of the ports of *given* that are held, *but* of some."""
        for port in range(given.port, given.last + 1):
            if port in but:
                continue
            if (found := self._descriptors.pop((given.protocol, given.address, port), None)) is not None:
                os.close(found)

    def close(self) -> None:
        for one in self._descriptors.values():
            os.close(one)
        self._descriptors.clear()


def check(wanted: Publication) -> None:
    """Raise InUse for the first port that a program of the host has."""
    for port in sorted(ports_in_use(wanted.protocol)):
        found = _bound(wanted.protocol, wanted.address, port) if wanted.port <= port <= wanted.last else None
        if found is not None:
            found.close()


def _bound(protocol: str, address: Address, port: int) -> socket.socket | None:
    """Return a socket that holds the port; None where the kernel has no sockets of the protocol."""
    try:
        found = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, *_KINDS[protocol])
    except OSError as problem:
        if problem.errno in _NO_SUCH_SOCKETS:
            return None
        raise _explained(problem, address, port, protocol) from problem
    try:
        if address.version == 6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Connections that are only waiting out their time are in nobody's way; once bound, others must stay out.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((str(address), port))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        elif protocol == "sctp":
            found.bind((str(address), port))
        else:
            found.bind((str(address), port))
            # Datagrams that come by before the firewall leads them away would only fill memory.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    except OSError as problem:
        found.close()
        raise _explained(problem, address, port, protocol) from problem
    return found


def _explained(problem: OSError, address: Address, port: int, protocol: str) -> Exception:
    where = f"{address}:{port}/{protocol}"
    if problem.errno == errno.EADDRINUSE:
        return InUse(address, port, protocol, partial(owner, protocol, address, port))
    if problem.errno == errno.EADDRNOTAVAIL:
        return ServerError(
            f"failed to bind host port {where}: cannot assign requested address: the host does not have {address}"
        )
    return ServerError(f"failed to bind host port {where}: {problem.strerror}")
