"""Attacks on a daemon's socket: incomplete requests, clients that do not read, endless bodies, many connections."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from netd.common.daemon_status import DaemonStatus
from netd.common.events import Bus, event
from netd.common.http import web
from netd.common.http.admission import Admission, Bounds
from netd.common.http.hijack import hijack
from netd.common.http.listen import serve
from netd.common.http.web import Front, HttpRoute, Product
from netd.common.tasks import Failures
from netd.server.system import SystemRoutes
from tests.engine.conftest import Raw

BOUNDS = Bounds(
    connections=20, per_client=10, reserve=4, few=2, idle_seconds=0.6, head_seconds=0.3, stalled_seconds=0.4
)
PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"


async def body(call):
    return web.json(len(await call.raw()))


async def archive(call):
    return web.json(sum([len(chunk) async for chunk in call.archive()]))


async def refuse(call):
    return web.json({"message": "no"}, 404)


async def large(call):
    return web.json("x" * (8 << 20))


async def forever(call):
    taken = await hijack(call, "application/vnd.docker.raw-stream", {})
    await taken.gone
    return taken


async def short(call):
    taken = await hijack(call, "application/vnd.docker.raw-stream", {})
    taken.writer.write(b"said")
    return taken


ROUTES = [
    HttpRoute("POST", "/body", body),
    HttpRoute("POST", "/archive", archive),
    HttpRoute("POST", "/refuse", refuse),
    HttpRoute("GET", "/large", large),
    HttpRoute("POST", "/forever", forever),
    HttpRoute("POST", "/short", short),
]


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """Return a function that connects to a server with small limits, which runs in a thread."""
    monkeypatch.setattr(web, "_BODY_SECONDS", 0.4)
    monkeypatch.setattr(web, "_ARCHIVE_SECONDS", 0.4)
    loop, path, opened = asyncio.new_event_loop(), tmp_path / "s.sock", []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    runner = run(serve(Front(Product("test", "1"), ROUTES), path, "no-such-group", BOUNDS))

    def client():
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(8)
        sock.connect(str(path))
        opened.append(sock)
        return sock

    yield client
    for sock in opened:
        sock.close()
    run(runner.cleanup())
    run(asyncio.sleep(0.05))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def everything(sock) -> bytes:
    """Return the bytes received until the connection ends, with or without an error."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(1 << 20):
            data += piece
    return data


def is_served(connect) -> bool:
    sock = connect()
    sock.sendall(PING)
    served = sock.recv(4096).startswith(b"HTTP/1.1 200")
    sock.close()
    return served


@pytest.mark.parametrize("sent", [b"G", b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: "])
def test_half_a_head_ends_the_connection(connect, sent):
    sock = connect()
    sock.sendall(sent)
    assert b" 408 " in everything(sock)


def test_half_a_head_after_a_request_ends_the_connection(connect):
    sock = connect()
    sock.sendall(PING)
    assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    sock.sendall(b"GET")
    assert b" 408 " in everything(sock)


def test_a_head_that_drips_ends_the_connection(connect):
    sock, began = connect(), time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 30:
            sock.sendall(b"X")
            time.sleep(0.02)
    assert time.monotonic() - began < 20 and is_served(connect)


def test_a_connection_without_a_request_ends(connect):
    assert everything(connect()) == b""


def test_a_head_without_end_is_refused(connect):
    sock = connect()
    with contextlib.suppress(ConnectionError):
        sock.sendall(b"GET /_ping HTTP/1.1\r\n" + b"X-Name: value\r\n" * 200_000)
    answer = everything(sock)
    assert b" 431 " in answer or b" 400 " in answer or not answer
    assert is_served(connect)


@pytest.mark.parametrize("path", ["body", "archive"])
@pytest.mark.parametrize("sent", [b"", b"{"])
def test_half_a_body_is_refused(connect, path, sent):
    sock = connect()
    sock.sendall(f"POST /{path} HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n".encode() + sent)
    answer = sock.recv(65536)
    assert b" 408 " in answer.split(b"\r\n")[0] and b"was not received within" in answer


def test_the_answer_to_a_body_that_is_not_read_arrives(connect):
    for size in (5 << 20, 40 << 20):
        sock = connect()
        sock.sendall(f"POST /refuse HTTP/1.1\r\nHost: d\r\nContent-Length: {size}\r\n\r\n".encode())
        sock.sendall(b"x" * size)
        assert sock.recv(4096).startswith(b"HTTP/1.1 404")


def test_an_answer_that_nobody_reads_ends_the_connection(connect):
    sock = connect()
    sock.sendall(b"GET /large HTTP/1.1\r\nHost: d\r\n\r\n")
    time.sleep(1)
    assert len(everything(sock)) < 8 << 20 and is_served(connect)


def test_a_stream_ends_in_order_while_the_client_still_sends(connect):
    for _ in range(5):
        sock = connect()
        sock.sendall(b"POST /short HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + b"x" * 200_000)
        data = b""
        while piece := sock.recv(4096):
            data += piece
        assert data.endswith(b"\r\n\r\nsaid")
        sock.close()


def test_a_client_with_too_many_connections_is_told_so_and_recovers(connect):
    socks = [connect() for _ in range(BOUNDS.per_client)]
    for sock in socks:
        sock.sendall(b"POST /forever HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    refused = connect()
    refused.sendall(PING)
    assert b" 503 " in (said := everything(refused)) and b"connections open, which is the most" in said
    for sock in socks:
        sock.close()
    deadline = time.monotonic() + 20
    while not is_served(connect):
        assert time.monotonic() < deadline


def test_a_client_with_few_connections_finds_room_when_others_have_taken_all():
    admission = Admission(BOUNDS)
    assert not any(admission.enter(pid) for pid in (1, 2) for _ in range(10))
    assert [bool(admission.enter(3)) for _ in range(3)] == [False, False, True]
    assert "which is the most" in admission.enter(1)
    for _ in range(11):
        admission.leave(1)
    assert not admission.enter(3)


def test_a_listener_that_takes_no_events_is_disconnected():
    async def scenario():
        bus, lagging = Bus(), []
        with bus.listen(lambda: lagging.append(True)):
            for _ in range(5000):
                bus.publish(event("network", "create", "x", {}))
        return lagging

    assert asyncio.run(scenario()) == [True]


@pytest.mark.parametrize("name", ["docker.sock", "netd.sock"])
def test_slow_clients_do_not_stop_others(place, api, name):
    socks = []
    for number in range(200):
        raw = Raw(place.run / name)
        raw.connect()
        words = (b"", b"POST /networks/create HT", b"POST /networks/create HTTP/1.1\r\nContent-Length: 99\r\n\r\n{")
        raw.sock.sendall(words[number % 3])
        socks.append(raw.sock)
    began = time.monotonic()
    assert Raw(place.run / name).ask("GET", "/_ping")[2] == b"OK"
    assert Raw(place.run / name).ask("GET", "/networks")[0] == 200
    assert time.monotonic() - began < 20
    for sock in socks:
        sock.close()


def test_a_client_that_does_not_read_events_is_disconnected_and_named_in_the_log(tmp_path, caplog):
    async def scenario():
        bus, closing = Bus(), asyncio.Event()
        system = SystemRoutes(Product("test", "1"), bus, DaemonStatus("netd", Failures(), None), closing)
        runner = await serve(Front(Product("test", "1"), system.routes()), tmp_path / "s.sock", "no-such-group")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s.sock", limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(8):
            while "does not read the events" not in caplog.text:
                bus.publish(event("network", "create", "x", {"name": "n" * 2000}))
                await asyncio.sleep(0)
            assert not bus._listeners
            while await reader.read(1 << 20):  # The data sent before, and then the end.
                pass
        writer.close()
        await runner.cleanup()

    asyncio.run(scenario())
