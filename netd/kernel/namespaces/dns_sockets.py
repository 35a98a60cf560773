"""Sockets for netd-dns at 127.0.0.11:53 inside a sandbox.

They listen on free ports, and the sandbox's own firewall redirects port 53 of that address to them, so that a container
can run a server of its own on port 53.  Must not answer queries.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TypeAlias

from netd.host_protocol import Resolver

_ADDRESS = "127.0.0.11"
_BACKLOG = 128
RedirectDns: TypeAlias = Callable[[str, int, int], None]
"""Redirects port 53 of an address to a UDP and a TCP port, in the calling thread's namespace."""


def open_here(redirect: RedirectDns) -> Resolver:
    """Open the sockets and the redirect in the calling thread's namespace; replaces an earlier redirect."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        udp.bind((_ADDRESS, 0))
        tcp.bind((_ADDRESS, 0))
        tcp.listen(_BACKLOG)
        redirect(_ADDRESS, udp.getsockname()[1], tcp.getsockname()[1])
        return Resolver(udp, tcp, os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except BaseException:
        udp.close()
        tcp.close()
        raise
