"""The netd-dns process, queried over real sockets from namespaces."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from dns_lab import DnsHost, found, inside, read_frame, upstream

from netd.dns import protocol
from netd.dns.records import NetworkRecords, Patch, Service, View
from netd.dns.server.tcp import MAX_CONNECTIONS

T = TypeVar("T")


def test_names_of_shared_networks_resolve_and_others_do_not_exist(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        front = await dns_host.container("a", View(("n1",), forward=False))
        both = await dns_host.container("b", View(("n2", "n1"), forward=False))
        assert front.addresses("web") == ["10.1.0.2"]
        assert front.ask("cache").rcode() == dns.rcode.NXDOMAIN
        assert both.addresses("web") == ["10.2.0.9"], "only the first network with the name answers"
        assert both.addresses("WEB.front-end.") == ["10.1.0.2"]
        assert both.addresses("cache.back") == ["10.2.0.4"]

    on_host(scenario)


def test_replies_look_as_resolver_libraries_expect(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), links={"store": "db"}, forward=False))
        reply = asker.ask("wEb.Front-End")
        assert reply.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
        assert reply.answer[0].ttl == 5
        assert reply.answer[0].name.to_text() == "wEb.Front-End."
        assert asker.addresses("db", "AAAA") == ["fd00::3"]
        assert asker.addresses("store") == ["10.1.0.3"]
        for kind in ("AAAA", "MX", "HTTPS", "TXT", "SOA", "CNAME"):
            empty = asker.ask("web", kind)
            assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, []), kind
        assert found(asker.ask("2.0.1.10.in-addr.arpa", "PTR")) == ["web.front-end."]
        assert asker.ask("9.0.1.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN

    on_host(scenario)


def test_services_come_with_their_targets_addresses(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        offered = (Service("web.front-end", 80, 1), Service("db.front-end", 5432, 2))
        dns_host.client.patch_network("n1", Patch(services={"_any._tcp": offered, "_tcp.db": offered[1:]}))
        asker = await dns_host.container("a", View(("n1",), forward=False))
        reply = asker.ask("_ANY._tcp", "SRV")
        assert sorted(found(reply)) == ["0 0 5432 db.front-end.", "0 0 5433 db.front-end.", "0 0 80 web.front-end."]
        beside = {(str(rrset.name), item.to_text()) for rrset in reply.additional for item in rrset}
        assert beside == {("web.front-end.", "10.1.0.2"), ("db.front-end.", "10.1.0.3"), ("db.front-end.", "fd00::3")}
        assert found(asker.ask("_5433._tcp.db.front-end", "SRV", use_edns=0)) == ["0 0 5433 db.front-end."]
        empty = asker.ask("_any._tcp", "A")
        assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])
        many = tuple(Service(f"{'x' * 40}{n}.front-end", 1, 1) for n in range(30))
        dns_host.client.patch_network("n1", Patch(services={"_any._tcp": many}))
        await dns_host.client.flush()
        cut = asker.ask("_any._tcp", "SRV")
        assert cut.flags & dns.flags.TC and len(cut.to_wire()) <= 512
        assert len(found(asker.ask("_any._tcp", "SRV", tcp=True))) == 30

    on_host(scenario)


def test_the_host_is_found_by_its_names(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False, gateways=("10.1.0.1", "fd00::1")))
        for name in ("host.docker.internal", "HOST.netd.internal."):
            assert asker.addresses(name) == ["10.1.0.1"] and asker.addresses(name, "AAAA") == ["fd00::1"]

    on_host(scenario)


def test_edns_is_understood_and_what_is_unknown_in_it_ignored(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        unknown = [dns.edns.GenericOption(65001, b"zork"), dns.edns.GenericOption(10, b"12345678")]
        for options in ({}, {"want_dnssec": True}, {"options": unknown}, {"payload": 100}):
            reply = asker.ask("web", use_edns=0, **options)
            assert found(reply) == ["10.1.0.2"] and reply.edns == 0 and not reply.options
            assert bool(reply.ednsflags & dns.flags.DO) == ("want_dnssec" in options)
        assert asker.ask("web", "MX", use_edns=0).edns == 0
        assert asker.ask("web", use_edns=False).edns == -1
        twice = bytearray(dns.message.make_query("web", "A", use_edns=0).to_wire())
        twice[11] = 2
        twice += twice[-11:]
        with asker.udp() as sock:
            sock.send(twice)
            assert sock.recv(512)[3] & 15 == dns.rcode.FORMERR

    on_host(scenario)


def test_several_addresses_take_turns_at_being_first(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        firsts = [found(asker.ask("many", use_edns=0, payload=4096))[0] for _ in range(120)]
        assert {firsts.count(address) for address in set(firsts)} == {2}
        assert len(set(firsts)) == 60

    on_host(scenario)


def test_long_answers_are_cut_over_udp_and_whole_over_tcp(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        plain = asker.ask("many")
        assert plain.flags & dns.flags.TC
        assert len(plain.to_wire()) <= 512 and len(found(plain)) == 30
        edns = asker.ask("many", use_edns=0, payload=1232)
        assert not edns.flags & dns.flags.TC and len(found(edns)) == 60 and edns.edns == 0
        whole = asker.ask("many", tcp=True)
        assert not whole.flags & dns.flags.TC and len(found(whole)) == 60
        dns_host.client.patch_network("n1", Patch({"more": ("10.1.0.8",)}))
        await dns_host.client.flush()
        assert len(found(asker.ask("many", tcp=True))) == 60
        assert asker.ask("many").flags & dns.flags.TC, "a reply prepared for TCP is not used for UDP"

    on_host(scenario)


def test_a_connection_carries_many_questions(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        queries = [dns.message.make_query(name, "A", id=id) for id, name in enumerate(("web", "db") * 50)]
        with asker.tcp() as sock:
            for query in queries:
                wire = query.to_wire()
                sock.sendall(len(wire).to_bytes(2) + wire)
            received = b""
            replies: dict[int, dns.message.Message] = {}
            while len(replies) < len(queries):
                received += sock.recv(65535)
                while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2])):
                    reply = dns.message.from_wire(received[2:end])
                    replies[reply.id] = reply
                    received = received[end:]
        for query in queries:
            assert query.is_response(replies[query.id]) and found(replies[query.id])

    on_host(scenario)


def test_open_connections_are_bounded_and_the_oldest_goes(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        socks = [asker.tcp() for _ in range(MAX_CONNECTIONS + 8)]
        assert asker.addresses("web", tcp=True) == ["10.1.0.2"]
        assert socks[0].recv(1) == b"", "the oldest idle connection was closed"
        assert len(os.listdir(f"/proc/{dns_host.server_pid()}/fd")) < MAX_CONNECTIONS + 28
        for sock in socks:
            sock.close()

    on_host(scenario)


def test_a_slow_client_is_served_and_delays_nobody(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        query = dns.message.make_query("web", "A")
        wire = len(query.to_wire()).to_bytes(2) + query.to_wire()
        with asker.tcp() as slow:
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in wire:
                slow.sendall(bytes([byte]))
                assert asker.addresses("db") == ["10.1.0.3"]
            assert found(dns.message.from_wire(read_frame(slow))) == ["10.1.0.2"]

    on_host(scenario)


def test_a_client_that_never_reads_is_cut_off_and_costs_no_memory(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        wire = dns.message.make_query("many", "A").to_wire()
        before = memory(dns_host.server_pid())
        with asker.tcp() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            frames = (len(wire).to_bytes(2) + wire) * 100
            end = time.monotonic() + 20
            with pytest.raises(ConnectionError):
                while time.monotonic() < end:
                    deaf.sendall(frames)
        assert asker.addresses("web", tcp=True) == ["10.1.0.2"]
        assert memory(dns_host.server_pid()) < before + 3000

    on_host(scenario)


def memory(pid: int) -> int:
    """Return the memory of a process in kilobytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_changes_are_in_force_when_flush_returns(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))
        for n in range(50):
            dns_host.client.patch_network("n1", Patch({"web": (f"10.1.2.{n}",)}))
            await dns_host.client.flush()
            assert asker.addresses("web") == [f"10.1.2.{n}"]
        dns_host.client.set_network("n1", NetworkRecords("other", {"new": ("10.1.0.7",)}))
        await dns_host.client.flush()
        assert asker.addresses("new.other") == ["10.1.0.7"]
        assert asker.ask("web").rcode() == dns.rcode.NXDOMAIN
        dns_host.client.set_view("a", View(("n2",), forward=False))
        await dns_host.client.flush()
        assert asker.addresses("cache") == ["10.2.0.4"]
        dns_host.client.drop_network("n2")
        await dns_host.client.flush()
        assert asker.ask("cache").rcode() == dns.rcode.NXDOMAIN

    on_host(scenario)


def test_a_closed_sandbox_gives_its_namespace_back(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        asked = threading.Event()
        with upstream(asker.ns, "127.0.0.1", lambda packet: asked.set()), asker.udp() as sock, asker.tcp():
            sock.send(dns.message.make_query("example.com", "A").to_wire())
            assert asked.wait(5)
            await dns_host.client.close_sandbox("a")
            await dns_host.client.close_sandbox("a")
            await dns_host.client.flush()
        held = [os.readlink(link) for link in Path(f"/proc/{dns_host.server_pid()}/fd").iterdir()]
        assert not [name for name in held if name.startswith("net:")]
        assert sum(name.startswith("socket:") for name in held) == 2, "the listener and netd's connection"

    on_host(scenario)


@pytest.mark.parametrize("tcp", [False, True])
def test_what_is_no_query_gets_its_error_or_nothing(on_host, tcp):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        wire = dns.message.make_query("web", "A").to_wire()

        def reply_to(packet: bytes) -> bytes:
            with asker.tcp(0.3) if tcp else asker.udp(0.3) as sock:
                sock.sendall(len(packet).to_bytes(2) + packet if tcp else packet)
                return read_frame(sock) if tcp else sock.recv(4096)

        assert reply_to(wire[:4] + b"\0\2" + wire[6:])[3] & 15 == dns.rcode.FORMERR
        assert reply_to(wire[:20])[3] & 15 == dns.rcode.FORMERR
        assert reply_to(wire[:2] + bytes([wire[2] | 0x20]) + wire[3:])[3] & 15 == dns.rcode.NOTIMP
        for silent in (wire[:2] + bytes([wire[2] | 0x80]) + wire[3:], wire[:11], b""):
            with pytest.raises(TimeoutError):
                reply_to(silent)
        badvers = dns.message.from_wire(reply_to(dns.message.make_query("web", "A", use_edns=3).to_wire()))
        assert badvers.rcode() == dns.rcode.BADVERS

    on_host(scenario)


def _patiently(ask: Callable[[], T]) -> T:
    """Query with retries, as resolver libraries do: datagrams beyond the socket's buffer are lost."""
    for _ in range(9):
        try:
            return ask()
        except TimeoutError:
            continue
    return ask()


def test_noise_of_every_kind_changes_nothing(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",)))
        chance = random.Random(7)
        good = dns.message.make_query("many", "A", use_edns=0).to_wire()
        chain = bytes.fromhex("000101000001000100010002037765620000010001") + b"".join(
            (0xC000 | max(12, at - 2)).to_bytes(2) for at in range(21, 1900, 2)
        )
        with asker.udp() as noise:
            noise.setblocking(False)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                packet = bytearray(chance.choice((good, chain, chance.randbytes(chance.randrange(600)))))
                for _ in range(chance.randrange(6)):
                    if packet:
                        packet[chance.randrange(len(packet))] = chance.randrange(256)
                try:
                    noise.send(packet[: chance.randrange(len(packet) + 1)])
                except BlockingIOError:
                    pass
        assert asker.addresses("web", tcp=True) == ["10.1.0.2"]
        assert _patiently(lambda: asker.addresses("web", wait=0.5)) == ["10.1.0.2"]
        log = (dns_host.run / "dns.log").read_text()
        assert "Traceback" not in log and log.count("\n") == 1, log

    on_host(scenario)


def test_a_flooding_container_leaves_its_neighbour_its_answers(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        flooder = await dns_host.container("a", View(("n1",), forward=False))
        asker = await dns_host.container("b", View(("n1",), forward=False))
        os.kill(dns_host.server_pid(), signal.SIGSTOP)
        with flooder.udp() as flood, asker.udp() as sock:
            flood.setsockopt(socket.SOL_SOCKET, 33, 1 << 23)  # SO_RCVBUFFORCE
            for n in range(1000):
                flood.send(dns.message.make_query(f"x{n}", "A").to_wire())
            sock.send(dns.message.make_query("web", "A").to_wire())
            os.kill(dns_host.server_pid(), signal.SIGCONT)
            sock.recv(512)
            os.kill(dns_host.server_pid(), signal.SIGSTOP)
            flood.setblocking(False)
            answered = 0
            with suppress(BlockingIOError):
                while flood.recv(512):
                    answered += 1
        os.kill(dns_host.server_pid(), signal.SIGCONT)
        assert answered < 500, "queries of the other container were queued first, and are still interleaved"

    on_host(scenario)


def test_the_server_is_small_and_loads_nothing_heavy(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        maps = Path(f"/proc/{dns_host.server_pid()}/maps").read_text()
        assert not [name for name in ("pyroute2", "aiohttp", "msgspec", "_sqlite3", "libssl") if name in maps]
        rollup = Path(f"/proc/{dns_host.server_pid()}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss < 20_000, f"{pss} kB"
        assert Path(f"/proc/{dns_host.server_pid()}/comm").read_text() == "netd-dns\n"

    on_host(scenario)


def test_only_the_owner_may_connect_and_must_send_hello_first(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        assert (dns_host.run / "dns.sock").stat().st_mode & 0o777 == 0o600
        asker = await dns_host.container("a", View(("n1",)))
        for said in (protocol.encode(protocol.Stop()), b"nonsense"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(str(dns_host.run / "dns.sock"))
                sock.sendall(len(said).to_bytes(4) + b"\0" + said)
                assert sock.recv(1) == b""
        dns_host.client.patch_network("n1", Patch({"web": ("10.1.0.77",)}))
        await dns_host.client.flush()
        assert asker.addresses("web") == ["10.1.0.77"], "netd is still connected"

    on_host(scenario)
