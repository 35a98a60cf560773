"""Many sandboxes, queries, connections and killed servers leak no descriptor in netd or netd-dns."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import dns.message
import pytest
from dns_lab import Container, DnsHost, inside, resolver_in, says, upstream

from netd.dns import protocol
from netd.dns.client import servers
from netd.dns.client.dns_client import DnsClient
from netd.dns.records import View


def held(pid: int | str) -> Counter[str]:
    """Return the number of open descriptors of a process by kind."""
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found[os.readlink(f"/proc/{pid}/fd/{name}").split(":")[0]] += 1
    return found


def until_as_before(pid: int | str, before: Counter[str]) -> None:
    end = time.monotonic() + 30
    while more := held(pid) - before:
        assert time.monotonic() < end, f"more than before: {more}"
        time.sleep(0.02)  # The server closes them asynchronously.


async def storm(dns_host: DnsHost, number: int, upstreams: tuple[str, ...]) -> None:
    """Open a sandbox, query over UDP and TCP, and close it with pending queries."""
    container = Container(f"s{number}", dns_host.new_namespace())
    view = View(("n1",), upstreams=inside(*upstreams))
    await dns_host.client.open_sandbox(container.name, resolver_in(container.ns))
    dns_host.client.set_view(container.name, view)
    await dns_host.client.flush(10)
    with ExitStack() as stack:
        stack.enter_context(upstream(container.ns, upstreams[0], says("198.51.100.1")))
        socks = [stack.enter_context(container.tcp()) for _ in range(3)]
        asker = stack.enter_context(container.udp())
        for n, sock in enumerate((*socks, asker)):
            wire = dns.message.make_query(f"{n}.test", "A").to_wire()
            sock.send(wire if sock is asker else len(wire).to_bytes(2) + wire)
        await dns_host.client.close_sandbox(container.name)
    await dns_host.client.flush(10)


@pytest.mark.parametrize("upstreams", [("127.0.0.1",), ("127.0.0.1", "192.0.2.1")])
def test_sandboxes_come_and_go_without_a_trace(on_host, upstreams):
    async def scenario(dns_host: DnsHost) -> None:
        await storm(dns_host, 0, upstreams)
        gc.collect()
        pid, ours = dns_host.server_pid(), held("self")
        before = held(pid)
        await asyncio.gather(*(storm(dns_host, n, upstreams) for n in range(12)))
        until_as_before(pid, before)
        gc.collect()
        until_as_before("self", ours + Counter({"net": 12}))  # the namespaces that the test itself keeps

    on_host(scenario)


def test_servers_come_and_go_without_a_trace(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        pid = dns_host.server_pid()
        before, ours = held(pid), held("self")
        for kind in (signal.SIGKILL, signal.SIGTERM):
            os.kill(dns_host.server_pid(), kind)
            assert await asyncio.to_thread(asker.addresses, "web") == ["10.1.0.2"]
            await dns_host.client.flush(10)
        until_as_before(dns_host.server_pid(), before)
        until_as_before("self", ours)
        await usurp(dns_host)
        until_as_before(dns_host.server_pid(), before)
        until_as_before("self", ours)

    on_host(scenario)


async def usurp(dns_host: DnsHost) -> None:
    """Connect to the server in place of netd, receive its sockets and disconnect."""
    with socket.socket(socket.AF_UNIX) as usurper:
        usurper.connect(str(dns_host.run / "dns.sock"))
        hello = protocol.encode(protocol.Hello("another"))
        usurper.sendall(len(hello).to_bytes(4) + b"\0" + hello)
        await asyncio.to_thread(usurper.recv, 1)
    await dns_host.client.flush(10)


def test_a_server_that_stops_during_the_handshake_leaks_nothing(on_host, monkeypatch, tmp_path):
    async def scenario(dns_host: DnsHost) -> None:
        monkeypatch.setattr(servers, "HELLO_LIMIT", 0.2)
        other = tmp_path / "other"
        other.mkdir()
        link = DnsClient(other, Path("/nonexistent"))
        namespace = dns_host.new_namespace()
        ours = held("self")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(other / "dns.sock"))
            listener.listen()
            starting = asyncio.create_task(link.start())
            await asyncio.sleep(0)
            sock, _ = await asyncio.to_thread(listener.accept)
            connection = protocol.MessageSocket(sock)
            resolver = resolver_in(namespace)
            connection.queue(protocol.Welcome("1", ()))
            connection.queue(protocol.Held("x"), (resolver.udp.fileno(), resolver.tcp.fileno(), resolver.netns))
            connection.push()
            await starting
            connection.close()
            for each in (resolver.udp, resolver.tcp):
                each.close()
            os.close(resolver.netns)
        await link.close(stop_server=True)
        until_as_before("self", ours)

    on_host(scenario)
