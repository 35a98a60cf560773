"""All sandboxes that are being served, and the parts that serve them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from netd.dns.event_loop import Loop
from netd.dns.forwarding.forward import Forwarder
from netd.dns.forwarding.upstreams import HostFile
from netd.dns.protocol import DESCRIPTORS
from netd.dns.records import View
from netd.dns.sandbox import ServedSandbox
from netd.dns.server.respond import Responder
from netd.dns.server.tcp import TcpServer
from netd.dns.server.udp import UdpServer
from netd.dns.views import ViewTable

log = logging.getLogger(__name__)


class DnsServer:
    """Opens, changes and closes what containers talk to."""

    def __init__(self, loop: Loop, resolv_conf: Path) -> None:
        self.scopes = ViewTable()
        self._sandboxes: dict[str, ServedSandbox] = {}
        self._forwarder = Forwarder(loop, HostFile(resolv_conf))
        responder = Responder(self.scopes, self._forwarder)
        self._datagrams = UdpServer(loop, responder)
        self._streams = TcpServer(loop, responder)

    def sandboxes(self) -> Iterable[ServedSandbox]:
        return self._sandboxes.values()

    def open(self, sandbox_id: str, descriptors: Sequence[int]) -> None:
        """Take over a sandbox's descriptors; those of one that is known are replaced and it keeps its view."""
        if len(descriptors) != DESCRIPTORS:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ValueError(f"{len(descriptors)} descriptors for sandbox {sandbox_id[:12]} instead of {DESCRIPTORS}")
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0, descriptors[0])
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptors[1])
        sandbox = ServedSandbox(sandbox_id, udp, tcp, descriptors[2])
        sandbox.prepare()
        before = self._sandboxes.get(sandbox_id)
        view = before.scope.view if before is not None and before.scope is not None else None
        self.close(sandbox_id)
        self._sandboxes[sandbox_id] = sandbox
        if view is not None:
            self.set_view(sandbox_id, view)

    def set_view(self, sandbox_id: str, view: View) -> None:
        """Change what a sandbox sees; the first view is what makes it answer.  Nothing happens to unknown ones."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        before, sandbox.scope = sandbox.scope, self.scopes.enter(view)
        if before is not None:
            self.scopes.leave(before)
            return
        try:
            self._datagrams.open(sandbox)
            self._streams.open(sandbox)
        except OSError:
            # netd connects again and says it all anew: this is then the first view again.
            self._datagrams.close(sandbox)
            self._streams.close(sandbox)
            self.scopes.leave(sandbox.scope)
            sandbox.scope = None
            raise

    def close(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is None:
            return
        self._forwarder.abandon(sandbox)
        if sandbox.scope is not None:
            self._datagrams.close(sandbox)
            self._streams.close(sandbox)
            self.scopes.leave(sandbox.scope)
        sandbox.close()
