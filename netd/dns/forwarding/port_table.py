"""The UDP ports of all network namespaces from which queries are sent: the host's, and those of sandboxes."""

from __future__ import annotations

import socket
from functools import partial

from netd.dns.event_loop import Loop
from netd.dns.forwarding.udp_ports import SWEEP, Receiver, UdpPorts
from netd.dns.records import Upstream
from netd.dns.sandbox import ServedSandbox
from netd.kernel.namespaces.netns import run_in_fd

_HOST = ""
_DATAGRAM = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK


class PortTable:
    """Owns the sockets of all namespaces; closes those that are not needed.

    A namespace of a sandbox keeps one disconnected socket, because opening one there takes a thread.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.receiver: Receiver | None = None
        """Handles what arrives at the ports; set before the first use."""
        self._ports: dict[str, UdpPorts] = {}
        """Sandbox, or ``_HOST`` → its ports."""
        self._is_armed = False

    def of(self, sandbox: ServedSandbox, upstream: Upstream) -> UdpPorts:
        """Return the ports from which a server is queried for *sandbox*."""
        key = sandbox.id if upstream.inside else _HOST
        ports = self._ports.get(key)
        if ports is None:
            inside = partial(_sockets_in, sandbox.netns)
            open_sockets, keep = (inside, 1) if upstream.inside else (_sockets_here, 0)
            ports = self._ports[key] = UdpPorts(self._loop, open_sockets, keep, self._arm, self.receiver)
        return ports

    def forget(self, sandbox: str) -> None:
        """Close the sockets in a sandbox: they keep its namespace alive."""
        if (ports := self._ports.pop(sandbox, None)) is not None:
            ports.close()

    def _arm(self) -> None:
        if not self._is_armed:
            self._is_armed = True
            self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._is_armed = False
        if any([ports.sweep() for ports in self._ports.values()]):
            self._arm()


def _sockets_here(family: int, count: int) -> list[socket.socket]:
    return _opened(family, count)


def _sockets_in(netns: int, family: int, count: int) -> list[socket.socket]:
    return run_in_fd(netns, partial(_opened, family, count))


def _opened(family: int, count: int) -> list[socket.socket]:
    """Return *count* new sockets, or fewer if the descriptors run out; raise OSError if there is none."""
    opened = [socket.socket(family, _DATAGRAM)]
    try:
        while len(opened) < count:
            opened.append(socket.socket(family, _DATAGRAM))
    except OSError:
        pass
    return opened
