"""The served sandboxes, with the UDP and TCP servers and the forwarder that all of them share."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from netd.dns.dns_counters import DnsCounters
from netd.dns.event_loop import Loop
from netd.dns.forwarding.forward import Forwarder
from netd.dns.forwarding.upstreams import HostFile
from netd.dns.protocol import DESCRIPTORS
from netd.dns.records import View
from netd.dns.reply_queue import ReplyQueue
from netd.dns.sandbox import ServedSandbox
from netd.dns.server.respond import Responder
from netd.dns.server.tcp import TcpServer
from netd.dns.server.udp import UdpServer
from netd.dns.views import ViewTable

log = logging.getLogger(__name__)


class DnsServer:
    """Starts and stops serving sandboxes, and changes their views."""

    def __init__(self, loop: Loop, resolv_conf: Path) -> None:
        self.views = ViewTable()
        self._sandboxes: dict[str, ServedSandbox] = {}
        self.counters = DnsCounters()
        replies = ReplyQueue(loop)
        self._forwarder = Forwarder(loop, HostFile(resolv_conf, loop), replies, self.counters)
        responder = Responder(self.views, self._forwarder, replies, self.counters)
        self._udp = UdpServer(loop, responder, self.counters)
        self._tcp = TcpServer(loop, responder)

    def sandboxes(self) -> Iterable[ServedSandbox]:
        return self._sandboxes.values()

    def open(self, sandbox_id: str, descriptors: Sequence[int]) -> None:
        """Take ownership of a sandbox's descriptors; for a known sandbox they are replaced and its view stays."""
        if len(descriptors) != DESCRIPTORS:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ValueError(f"{len(descriptors)} descriptors for sandbox {sandbox_id[:12]} instead of {DESCRIPTORS}")
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0, descriptors[0])
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptors[1])
        sandbox = ServedSandbox(sandbox_id, udp, tcp, descriptors[2])
        sandbox.prepare()
        before = self._sandboxes.get(sandbox_id)
        view = before.shared_view.view if before is not None and before.shared_view is not None else None
        self.close(sandbox_id)
        self._sandboxes[sandbox_id] = sandbox
        if view is not None:
            self.set_view(sandbox_id, view)

    def set_view(self, sandbox_id: str, view: View) -> None:
        """Replace the view of a sandbox; the first view starts serving it.  Ignored for an unknown sandbox."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        before, sandbox.shared_view = sandbox.shared_view, self.views.acquire(view)
        if before is not None:
            self.views.release(before)
            return
        try:
            self._udp.open(sandbox)
            self._tcp.open(sandbox)
        except OSError:
            # netd reconnects and sends all state again, so the next view starts serving the sandbox.
            self._udp.close(sandbox)
            self._tcp.close(sandbox)
            self.views.release(sandbox.shared_view)
            sandbox.shared_view = None
            raise

    def close(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is None:
            return
        self._forwarder.abandon(sandbox)
        if sandbox.shared_view is not None:
            self._udp.close(sandbox)
            self._tcp.close(sandbox)
            self.views.release(sandbox.shared_view)
        sandbox.close()
