"""Storms of sandboxes, questions, connections and killed servers leave no descriptor behind, on either side."""

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
from dns_lab import Container, World, inside, resolver_in, says, upstream

from netd.dns import protocol
from netd.dns.client import servers
from netd.dns.client.dns_client import DnsClient
from netd.dns.records import View


def held(pid: int | str) -> Counter[str]:
    """Return what a process has open, by kind."""
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found[os.readlink(f"/proc/{pid}/fd/{name}").split(":")[0]] += 1
    return found


def until_as_before(pid: int | str, before: Counter[str]) -> None:
    end = time.monotonic() + 10
    while more := held(pid) - before:
        assert time.monotonic() < end, f"more than before: {more}"
        time.sleep(0.02)  # the server closes them when it comes to it


async def storm(world: World, number: int, upstreams: tuple[str, ...]) -> None:
    """Open a sandbox, ask in every way, and close it with questions under way."""
    container = Container(f"s{number}", world.new_namespace())
    view = View(("n1",), upstreams=inside(*upstreams))
    await world.link.open_sandbox(container.name, resolver_in(container.ns))
    world.link.set_view(container.name, view)
    await world.link.flush(10)
    with ExitStack() as stack:
        stack.enter_context(upstream(container.ns, upstreams[0], says("198.51.100.1")))
        socks = [stack.enter_context(container.tcp()) for _ in range(3)]
        asker = stack.enter_context(container.udp())
        for n, sock in enumerate((*socks, asker)):
            wire = dns.message.make_query(f"{n}.test", "A").to_wire()
            sock.send(wire if sock is asker else len(wire).to_bytes(2) + wire)
        await world.link.close_sandbox(container.name)
    await world.link.flush(10)


@pytest.mark.parametrize("upstreams", [("127.0.0.1",), ("127.0.0.1", "192.0.2.1")])
def test_sandboxes_come_and_go_without_a_trace(on_host, upstreams):
    async def story(world: World) -> None:
        await storm(world, 0, upstreams)
        gc.collect()
        pid, ours = world.server_pid(), held("self")
        before = held(pid)
        await asyncio.gather(*(storm(world, n, upstreams) for n in range(12)))
        until_as_before(pid, before)
        gc.collect()
        until_as_before("self", ours + Counter({"net": 12}))  # the namespaces that the test itself keeps

    on_host(story)


def test_servers_come_and_go_without_a_trace(on_host):
    async def story(world: World) -> None:
        asker = await world.container("a", View(("n1",), forward=False))
        pid = world.server_pid()
        before, ours = held(pid), held("self")
        for kind in (signal.SIGKILL, signal.SIGTERM):
            os.kill(world.server_pid(), kind)
            assert await asyncio.to_thread(asker.addresses, "web") == ["10.1.0.2"]
            await world.link.flush(10)
        until_as_before(world.server_pid(), before)
        until_as_before("self", ours)
        await usurp(world)
        until_as_before(world.server_pid(), before)
        until_as_before("self", ours)

    on_host(story)


async def usurp(world: World) -> None:
    """Take netd's place with the server, take its sockets and leave."""
    with socket.socket(socket.AF_UNIX) as usurper:
        usurper.connect(str(world.run / "dns.sock"))
        hello = protocol.encode(protocol.Hello("another"))
        usurper.sendall(len(hello).to_bytes(4) + b"\0" + hello)
        await asyncio.to_thread(usurper.recv, 1)
    await world.link.flush(10)


def test_a_server_that_stops_in_the_middle_of_its_first_words_costs_nothing(on_host, monkeypatch, tmp_path):
    async def story(world: World) -> None:
        monkeypatch.setattr(servers, "HELLO_LIMIT", 0.2)
        other = tmp_path / "other"
        other.mkdir()
        link = DnsClient(other, Path("/nonexistent"))
        namespace = world.new_namespace()
        ours = held("self")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(other / "dns.sock"))
            listener.listen()
            starting = asyncio.create_task(link.start())
            await asyncio.sleep(0)
            sock, _ = await asyncio.to_thread(listener.accept)
            pipe = protocol.Pipe(sock)
            resolver = resolver_in(namespace)
            pipe.queue(protocol.Welcome("1", ()))
            pipe.queue(protocol.Held("x"), (resolver.udp.fileno(), resolver.tcp.fileno(), resolver.netns))
            pipe.push()
            await starting
            pipe.close()
            for each in (resolver.udp, resolver.tcp):
                each.close()
            os.close(resolver.netns)
        await link.close(stop_server=True)
        until_as_before("self", ours)

    on_host(story)
