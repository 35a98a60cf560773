from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from dns_lab import BACK, WEB, Container, DnsHost, in_namespace, new_namespace, resolver_in

from netd.dns.client.dns_client import DnsClient
from netd.dns.event_loop import Loop
from netd.dns.records import View
from netd.dns.server.service import DnsServer


@pytest.fixture
def make_namespace() -> Iterator[Callable[[], int]]:
    with ExitStack() as stack:

        def make() -> int:
            fd = new_namespace()
            stack.callback(os.close, fd)
            return fd

        yield make


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Iterator[Path]:
    """The host's resolv.conf, empty until a test writes it; servers left by a failed test are killed."""
    path = tmp_path / "resolv.conf"
    path.write_text("")
    yield path
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(path).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def on_host(
    make_namespace: Callable[[], int], resolv_conf: Path, tmp_path: Path
) -> Callable[[Callable[[DnsHost], Awaitable[None]]], None]:
    """Run a scenario on a new host with a server that has the networks n1 (front-end) and n2 (Back)."""
    host = make_namespace()

    def run(scenario: Callable[[DnsHost], Awaitable[None]]) -> None:
        async def main() -> None:
            link = DnsClient(tmp_path, resolv_conf)
            await link.start()
            try:
                link.set_network("n1", WEB)
                link.set_network("n2", BACK)
                await scenario(DnsHost(link, tmp_path, host, make_namespace))
            finally:
                await link.close(stop_server=True)

        in_namespace(host, main)

    return run


@pytest.fixture
def service(make_namespace: Callable[[], int], resolv_conf: Path) -> Iterator[tuple[DnsServer, Loop, Container]]:
    """A server's inside in this process, with a container "a" that it serves while ``serving``."""
    loop, container = Loop(), Container("a", make_namespace())
    server = DnsServer(loop, resolv_conf)
    resolver = resolver_in(container.ns)
    server.open("a", (resolver.udp.detach(), resolver.tcp.detach(), resolver.netns))
    server.views.set_network("n1", WEB)
    server.set_view("a", View(("n1",)))
    yield server, loop, container
    server.close("a")
