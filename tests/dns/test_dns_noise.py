"""Malformed packets.  ``NETD_NOISE_SECONDS`` sets the duration of each kind."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns_lab import NOISE, Container, DnsHost, inside, upstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.config import conf
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT, DNSRRSRV
from scapy.packet import Packet, fuzz

from netd.dns.records import View

_TICKS = os.sysconf("SC_CLK_TCK")


class Vitals:
    """A process's memory, processor time and descriptors."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")

    def descriptors(self) -> int:
        return len(list((self._process / "fd").iterdir()))

    def memory(self) -> int:
        """Return the resident memory in kilobytes."""
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    def busy(self) -> float:
        """Return the processor time used, in seconds."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def shapes() -> Iterator[Packet]:
    """Yield messages with random fields from scapy, endlessly; some have netd's names."""
    question = DNSQR(qname="web.front-end")
    while True:
        yield fuzz(DNS(qr=0, opcode=0, qd=fuzz(DNSQR())))
        yield DNS(qd=[question], ar=[fuzz(DNSRROPT())])
        yield DNS(qd=[DNSQR(qname="web", qtype=random.randrange(65536), qclass=random.randrange(65536))])
        yield DNS(qd=[DNSQR(qname=f"x{random.randrange(9999)}.test", qtype=random.randrange(250))])
        yield fuzz(DNS(qd=[question, question]))
        yield fuzz(DNS(qr=0, qd=question, an=fuzz(DNSRR()), ar=fuzz(DNSRRSRV())))


def packets() -> Iterator[bytes]:
    for shape in shapes():
        try:
            packet = bytes(shape)
        except Exception:  # scapy cannot encode all random values.
            continue
        yield packet
        yield packet[: random.randrange(len(packet) + 1)]


def nonsense(packet: bytes) -> bytes:
    """Reply with the correct question and random content."""
    rest = random.choice((b"\xc0\x0c" * 20, random.randbytes(40), b"", b"\xff" * 600))
    return (
        packet[:2]
        + bytes([packet[2] | 0x80, random.randrange(16)])
        + packet[4:6]
        + random.randbytes(6)
        + packet[12:]
        + rest
    )


def shout(asker: Container, stream: bool, seconds: float) -> int:
    """Send packets for *seconds* without waiting for replies; return their number."""
    sent, end, source = 0, time.monotonic() + seconds, packets()
    while time.monotonic() < end:
        with asker.tcp() if stream else asker.udp() as sock:
            sock.setblocking(False)
            for packet in (next(source) for _ in range(50)):
                try:
                    sock.send(len(packet).to_bytes(2) + packet if stream else packet)
                except BlockingIOError:
                    break
                except OSError:  # The server closed the connection.
                    break
                sent += 1
    return sent


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])
def test_noise_leaves_nothing_behind(on_host, stream):
    conf.verb = 0
    random.seed(7)

    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), upstreams=inside("127.0.0.1")))
        vitals = Vitals(dns_host.server_pid())
        with upstream(asker.ns, "127.0.0.1", nonsense) as server:
            held = vitals.descriptors() + 1  # A disconnected socket stays open in the container for later queries.
            shout(asker, stream, NOISE / 4)
            memory = vitals.memory()
            assert shout(asker, stream, NOISE) > 100
            assert len(server.asked) > 10
        assert asker.addresses("web", tcp=True) == ["10.1.0.2"]
        until_quiet(vitals, asker, held)
        assert vitals.memory() < memory + 4096, "memory leaks"
        log = (dns_host.run / "dns.log").read_text()
        assert "Traceback" not in log and log.count("\n") == 1, log

    on_host(scenario)


def until_quiet(vitals: Vitals, asker: Container, held: int) -> None:
    """Wait until the server is idle and has no more descriptors than before; fail after the timeout."""
    end = time.monotonic() + 30
    while True:
        before = vitals.busy()
        time.sleep(0.5)  # An idle interval of processor time is measured.
        idle = vitals.busy() - before <= 0.02
        if idle and vitals.descriptors() <= held and asker.addresses("db") == ["10.1.0.3"]:
            return
        assert time.monotonic() < end, f"idle={idle} descriptors={vitals.descriptors()}, before {held}"


raw = st.binary(max_size=64)
header = st.tuples(st.integers(0, 65535), st.sampled_from((0, 0x100, 0x8180, 0x2000)), *[st.integers(0, 3)] * 4).map(
    lambda fields: b"".join(field.to_bytes(2) for field in fields)
)
labels = st.lists(st.binary(min_size=1, max_size=8).map(lambda label: bytes([len(label)]) + label), max_size=4)
pieces = st.sampled_from((b"\xc0\x0c", b"\xff\xff", b"\0\0\x29\4\xd0\0\0\0\0\0\0", b"\0\0\1\0\1", b"\3web\0\0\1\0\1"))
crafted = st.tuples(header, labels.map(b"".join), st.lists(pieces, max_size=4).map(b"".join), raw).map(b"".join)


def test_no_bytes_stop_the_server(on_host):
    async def scenario(dns_host: DnsHost) -> None:
        asker = await dns_host.container("a", View(("n1",), forward=False))

        @settings(max_examples=int(60 * NOISE), suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(raw | crafted, min_size=1, max_size=12), st.booleans())
        def spoil(said: list[bytes], stream: bool) -> None:
            good = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1"
            answer = good[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton("10.1.0.2")
            with asker.tcp() if stream else asker.udp() as sock:
                for packet in (*said, good):
                    sock.send(len(packet).to_bytes(2) + packet if stream else packet)
                received = b""
                while not received.endswith(answer):
                    received += sock.recv(4096)

        spoil()
        log = (dns_host.run / "dns.log").read_text()
        assert "Traceback" not in log, log

    on_host(scenario)
