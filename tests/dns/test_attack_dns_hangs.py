"""netd-dns stopped, out of descriptors or looping: it is replaced, and few queries are delayed."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Hashable
from pathlib import Path

import pytest
from dns_lab import Container, DnsHost, resolver_in

from netd.common.errors import Unavailable
from netd.dns import event_loop
from netd.dns.client import servers, watchdog
from netd.dns.client.dns_client import FLUSH_LIMIT, DnsClient
from netd.dns.event_loop import READ, Loop
from netd.dns.records import NetworkRecords, Patch, View


@pytest.fixture
def quick(monkeypatch):
    """Shorten the watchdog's interval."""
    monkeypatch.setattr(watchdog, "INTERVAL", 0.2)
    monkeypatch.setattr(watchdog, "TICK", 0.05)
    monkeypatch.setattr(servers, "HELLO_LIMIT", 0.3)


def is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def readable(fd: int) -> None:
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ready.set)
    await ready.wait()
    asyncio.get_running_loop().remove_reader(fd)


async def replaced(dns_host: DnsHost, pid: int) -> None:
    """Wait until another server replies."""
    if is_running(pid):
        pidfd = os.pidfd_open(pid)
        await readable(pidfd)
        os.close(pidfd)
    await dns_host.client.flush(10)
    assert dns_host.server_pid() != pid


def test_a_stopped_server_costs_a_start_a_fraction_of_a_second_and_is_replaced(on_host, quick):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        pid = dns_host.server_pid()
        os.kill(pid, signal.SIGSTOP)
        dns_host.client.patch_network("n1", Patch({"web": ("10.1.0.66",)}))
        begin = time.monotonic()
        for _ in range(5):
            with pytest.raises(Unavailable, match="names follow"):
                await dns_host.client.flush()
        assert time.monotonic() - begin < 3 * FLUSH_LIMIT, "only the first query waits"
        assert await asyncio.to_thread(asker.addresses, "web") == ["10.1.0.66"]
        await replaced(dns_host, pid)
        assert not is_running(pid)
        other = await dns_host.container("b", View(("n1",), forward=False))
        assert other.addresses("web", tcp=True) == ["10.1.0.66"]

    on_host(scenario)


def test_a_stopped_server_is_detected_without_any_start(on_host, quick):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        pid = dns_host.server_pid()
        for _ in range(2):
            os.kill(pid, signal.SIGSTOP)
            assert await asyncio.to_thread(asker.addresses, "web") == ["10.1.0.2"]
            await replaced(dns_host, pid)
            pid = dns_host.server_pid()

    on_host(scenario)


def test_a_server_that_answers_stays(on_host, quick):
    async def scenario(dns_host: DnsHost) -> None:
        pid = dns_host.server_pid()
        dns_host.client.flush_timed_out.set()
        await asyncio.sleep(
            watchdog.INTERVAL + 2 * watchdog.TICK * watchdog.TICKS
        )  # The test asserts that nothing changes during this time.
        assert dns_host.server_pid() == pid and is_running(pid)

    on_host(scenario)


def test_the_next_netd_replaces_a_stopped_server_that_it_did_not_start(on_host, quick, resolv_conf, tmp_path):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        await dns_host.client.close(stop_server=False)
        pid = dns_host.server_pid()
        os.kill(pid, signal.SIGSTOP)
        heir = DnsClient(tmp_path, resolv_conf)
        await heir.start()
        assert heir.held == set() and not is_running(pid)
        with pytest.raises(ConnectionRefusedError):
            asker.addresses("web")
        heir.set_network("n1", NetworkRecords("front-end", {"web": ("10.1.0.2",)}))
        fresh = Container("b", dns_host.new_namespace())
        await heir.open_sandbox("b", resolver_in(fresh.ns))
        heir.set_view("b", View(("n1",), forward=False))
        await heir.flush(10)
        assert fresh.addresses("web") == ["10.1.0.2"]
        await heir.close(stop_server=True)

    on_host(scenario)


def test_a_stopped_server_is_ended_with_netd(on_host, quick, monkeypatch, resolv_conf, tmp_path):
    async def scenario(dns_host: DnsHost) -> None:
        monkeypatch.setattr(servers, "STOP_LIMIT", 0.2)
        await dns_host.client.close(stop_server=False)
        heir = DnsClient(tmp_path, resolv_conf)
        await heir.start()
        pid = dns_host.server_pid()
        os.kill(pid, signal.SIGSTOP)
        await heir.close(stop_server=True)
        assert not is_running(pid)

    on_host(scenario)


def test_a_server_without_descriptors_is_replaced(on_host, quick):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        pid = dns_host.server_pid()
        held = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (held + 1, held + 1))
        other = Container("b", dns_host.new_namespace())
        await dns_host.client.open_sandbox("b", resolver_in(other.ns))
        dns_host.client.set_view("b", View(("n1",), forward=False))
        assert await asyncio.to_thread(other.addresses, "web") == ["10.1.0.2"]
        assert asker.addresses("web") == ["10.1.0.2"]
        await replaced(dns_host, pid)
        assert not is_running(pid)

    on_host(scenario)


def test_a_message_that_cannot_be_obeyed_takes_no_other_with_it(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n3",), forward=False))
        pid = dns_host.server_pid()
        dns_host.client.set_network("bad", NetworkRecords("bad", {}, {}, ("no subnet",)))
        dns_host.client.set_network("n3", NetworkRecords("n3", {"web": ("10.3.0.2",)}))
        await dns_host.client.flush(10)
        assert asker.addresses("web") == ["10.3.0.2"]
        assert dns_host.server_pid() == pid
        assert "message failed" in (dns_host.run / "dns.log").read_text()

    on_host(scenario)


class Playing:
    """A server whose loop is busy for some ticks, and then replies or never does."""

    def __init__(self, works: int, answers: bool) -> None:
        self.flush_timed_out = asyncio.Event()
        self._left = works
        self._answers = answers

    def ping(self):
        return lambda: self._answers and not self._left

    def progress(self) -> Hashable:
        self._left = max(0, self._left - 1)
        return self._left


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_is_hung_when_it_makes_no_progress_and_not_when_it_takes_long(quick, monkeypatch, answers):
    monkeypatch.setattr(watchdog, "TICK", 0.001)

    async def main() -> None:
        async with asyncio.timeout(1 if answers else 10):
            await watchdog.until_hung(Playing(3 * watchdog.TICKS, answers))

    if answers:
        with pytest.raises(TimeoutError):
            asyncio.run(main())
    else:
        asyncio.run(main())


def test_a_handler_that_always_raises_leaves_the_loop_to_others():
    loops, calls = Loop(), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as broken:
        broken.bind(("127.0.0.1", 0))
        broken.sendto(b"x", broken.getsockname())

        def fail(events: int) -> None:
            calls.append(events)
            raise RuntimeError("as always")

        loops.watch(broken.fileno(), READ, fail)
        loops.call_later(3.5 * event_loop.FAILED_HANDLER_PAUSE, loops.stop)
        loops.run()
        assert 2 <= len(calls) <= 5
        loops.unwatch(broken.fileno())
        loops.call_later(1.5 * event_loop.FAILED_HANDLER_PAUSE, loops.stop)
        loops.run()
        assert len(calls) <= 5
