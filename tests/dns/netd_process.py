"""A process with netd's DNS client, for tests that kill it: RUN-DIR RESOLV.CONF HOST-FD CONTAINER-FD."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dns_lab import WEB, in_namespace, resolver_in

from netd.dns.client.dns_client import DnsClient
from netd.dns.records import NetworkRecords, View


async def main() -> None:
    link = DnsClient(Path(sys.argv[1]), Path(sys.argv[2]))
    await link.start()
    link.set_network("n1", WEB)
    link.set_network("gone", NetworkRecords("gone", {"old": ("10.9.0.1",)}))
    await link.open_sandbox("a", resolver_in(int(sys.argv[4])))
    link.set_view("a", View(("n1",), forward=False))
    await link.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


in_namespace(int(sys.argv[3]), main)
