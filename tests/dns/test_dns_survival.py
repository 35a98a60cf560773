"""Killed processes: resolution continues, ports stay, and no query is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from dns_lab import WEB, Container, DnsHost, found, in_namespace, inside, resolver_in, says, server_pid, upstream

from netd.dns import protocol
from netd.dns.client.dns_client import DnsClient
from netd.dns.records import NetworkRecords, Patch, View

HERE = Path(__file__).parent


def kill(pid: int) -> None:
    """Kill a process and wait until the kernel has closed its descriptors."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def netd_process(run: Path, resolv_conf: Path, host: int, container: int) -> subprocess.Popen[str]:
    """Start netd_process.py and return when its sandbox resolves names."""
    netd = subprocess.Popen(
        [sys.executable, str(HERE / "netd_process.py"), str(run), str(resolv_conf), str(host), str(container)],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        pass_fds=[host, container],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert netd.stdout is not None and netd.stdout.readline() == "ready\n"
    return netd


def test_names_resolve_while_netd_is_gone_and_the_next_one_takes_over(make_namespace, resolv_conf, tmp_path):
    host, asker = make_namespace(), Container("a", make_namespace())
    with netd_process(tmp_path, resolv_conf, host, asker.ns) as netd:
        kill(netd.pid)
        netd.wait()
    before = server_pid(tmp_path)
    assert asker.addresses("web") == ["10.1.0.2"]
    assert asker.addresses("web", tcp=True) == ["10.1.0.2"]
    assert os.getsid(before) == before

    async def next_netd() -> None:
        heir = DnsClient(tmp_path, resolv_conf)
        await heir.start()
        assert heir.held == {"a"}
        assert asker.addresses("web") == ["10.1.0.2"], (
            "the records of the killed netd are served until the next one connects"
        )
        heir.set_network("n1", NetworkRecords("front-end", {"web": ("10.1.0.99",)}))
        heir.set_view("a", View(("n1", "gone"), forward=False))
        await heir.flush()
        assert asker.addresses("web") == ["10.1.0.99"]
        assert asker.ask("db").rcode() == dns.rcode.NXDOMAIN
        assert asker.addresses("old") == ["10.9.0.1"]
        await heir.prune()
        assert asker.ask("old").rcode() == dns.rcode.NXDOMAIN, "the next netd did not send that network"
        assert server_pid(tmp_path) == before
        kill(before)
        assert await asyncio.to_thread(asker.addresses, "web") == ["10.1.0.99"], (
            "by the sockets that the server returned"
        )
        await heir.close(stop_server=True)

    in_namespace(host, next_netd)
    assert not (tmp_path / "dns.sock").exists()


def test_sandboxes_that_the_next_netd_does_not_set_are_closed(make_namespace, resolv_conf, tmp_path):
    host, asker = make_namespace(), Container("a", make_namespace())
    with netd_process(tmp_path, resolv_conf, host, asker.ns) as netd:
        kill(netd.pid)

    async def next_netd() -> None:
        heir = DnsClient(tmp_path, resolv_conf)
        await heir.start()
        await heir.prune()
        assert heir.held == set()
        with asker.udp() as sock, pytest.raises(ConnectionRefusedError):
            sock.send(b"anybody there?")
            sock.recv(10)
        await heir.close(stop_server=True)

    in_namespace(host, next_netd)


def test_no_question_is_lost_when_the_server_is_killed(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        askers = [await dns_host.container(f"c{n}", View(("n1", "n2"))) for n in range(3)]
        dns_host.client.patch_network("n1", Patch({"late": ("10.1.0.44",)}))
        await dns_host.client.flush()
        for _ in range(3):
            pid = dns_host.server_pid()
            os.kill(pid, signal.SIGSTOP)
            socks = [asker.udp() for asker in askers for _ in range(20)]
            for sock in socks:
                sock.send(dns.message.make_query("late", "A").to_wire())
            kill(pid)
            for sock in socks:
                with sock:
                    reply = dns.message.from_wire(await asyncio.to_thread(sock.recv, 512))
                    assert found(reply) == ["10.1.0.44"]
            assert dns_host.server_pid() != pid
        assert askers[0].addresses("late", tcp=True) == ["10.1.0.44"]
        assert not Path(f"/proc/{pid}").exists(), "the killed server was reaped"

    on_host(scenario)


def test_what_is_said_while_the_server_is_away_is_in_force_when_flush_returns(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        other = Container("b", dns_host.new_namespace())
        for n in range(3):
            kill(dns_host.server_pid())
            dns_host.client.patch_network("n1", Patch({"web": (f"10.1.3.{n}",)}))
            await dns_host.client.open_sandbox("b", resolver_in(other.ns)) if n == 0 else None
            dns_host.client.set_view("b", View(("n2",), forward=False))
            await dns_host.client.flush(10)
            assert asker.addresses("web") == [f"10.1.3.{n}"]
            assert other.addresses("cache") == ["10.2.0.4"]

    on_host(scenario)


def test_a_server_of_another_version_is_replaced_and_its_sockets_stay(on_host, resolv_conf, tmp_path, monkeypatch):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        await dns_host.client.close(stop_server=False)
        old = dns_host.server_pid()
        monkeypatch.setattr(protocol, "version", lambda: "another")
        newer = DnsClient(tmp_path, resolv_conf)
        await newer.start()
        assert newer.held == {"a"} and dns_host.server_pid() != old
        with asker.udp() as sock:
            sock.send(dns.message.make_query("web", "A").to_wire())
            newer.set_network("n1", WEB)
            newer.set_view("a", View(("n1",)))
            await newer.flush()
            assert found(dns.message.from_wire(sock.recv(512))) == ["10.1.0.2"], "the query waited for the records"
        await newer.close(stop_server=True)

    on_host(scenario)


def test_a_server_that_keeps_dying_comes_back_more_slowly(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        seen = set()
        for _ in range(3):
            seen.add(pid := dns_host.server_pid())
            kill(pid)
            assert await asyncio.to_thread(asker.addresses, "web") == ["10.1.0.2"]
        assert len(seen) == 3

    on_host(scenario)


def test_a_server_that_can_no_longer_be_reached_is_ended(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        lost = dns_host.server_pid()
        with socket.socket(socket.AF_UNIX) as usurper:
            usurper.connect(str(dns_host.run / "dns.sock"))
            (dns_host.run / "dns.sock").unlink()
            hello = protocol.encode(protocol.Hello("another"))
            usurper.sendall(len(hello).to_bytes(4) + b"\0" + hello)
            await asyncio.to_thread(usurper.recv, 1)
            await dns_host.client.flush(10)
        dns_host.client.patch_network("n1", Patch({"web": ("10.1.0.55",)}))
        await dns_host.client.flush(10)
        assert {asker.addresses("web")[0] for _ in range(50)} == {"10.1.0.55"}, "no outdated record is served"
        assert dns_host.server_pid() != lost and not Path(f"/proc/{lost}").exists()

    on_host(scenario)


def test_forwarding_works_again_in_a_new_server(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        with upstream(asker.ns, "127.0.0.1", says("198.51.100.1")):
            kill(dns_host.server_pid())
            assert await asyncio.to_thread(asker.addresses, "example.com") == ["198.51.100.1"]

    on_host(scenario)
