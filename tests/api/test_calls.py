"""The message connection between a runtime and netd: fallback to HTTP, errors, bounds, loss."""

import asyncio
import contextlib
import socket
import struct

import msgspec
import pytest

from netd.calls import event_lines
from netd.calls.call_messages import MAX_MESSAGE, CallReply, CallRequest, MessageTooLarge, Splitter, pack
from netd.calls.connection import CallConnection, CallsLost
from netd.calls.serve import CallRoutes
from netd.client import NetdClient
from netd.common.errors import Conflict, Unavailable
from netd.common.http.listen import serve
from netd.common.http.web import Front, HttpRoute, Product, json, stream
from netd.common.tasks import Tasks


@contextlib.asynccontextmanager
async def front(path, *routes, calls=True):
    """Serve the routes at *path*, with the message connection unless *calls* is false."""
    closing, tasks = asyncio.Event(), Tasks()
    extra = CallRoutes(lambda: served, tasks, closing).routes() if calls else []
    served = Front(Product("test", "1"), [*routes, *extra])
    serving = await serve(served, path, "no-such-group", tasks=tasks)
    try:
        yield
    finally:
        closing.set()
        await serving.cleanup()
        await tasks.close()


async def echo(call):
    return json({"q": call.texts("q"), "body": (await call.raw()).decode(), "v": call.version[1]})


async def taken(call):
    raise Conflict("the name is taken")


async def broken(call):
    raise ZeroDivisionError


async def streamed(call):
    return await stream(call, {})


UPGRADE = b"GET /netd/v1/calls HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
ROUTES = (
    HttpRoute("POST", "/echo/{name}", echo),
    HttpRoute("GET", "/taken", taken),
    HttpRoute("GET", "/broken", broken),
    HttpRoute("GET", "/stream", streamed),
)


def test_a_request_has_its_query_version_and_body_and_errors_their_status(tmp_path):
    async def play():
        path = tmp_path / "s.sock"
        async with front(path, *ROUTES):
            calls = CallConnection(path)
            reply = await calls.call(
                "id", "POST", "/v1.44/echo/x%20y", [("q", "a"), ("q", "b")], "text/plain", b"hello"
            )
            assert msgspec.json.decode(reply.body) == {"q": ["a", "b"], "body": "hello", "v": 44}
            replies = [await calls.call("", "GET", name) for name in ("/taken", "/broken", "/stream", "/nothing")]
            assert [reply.status for reply in replies] == [409, 500, 400, 404]
            assert b"the name is taken" in replies[0].body and b"connection of its own" in replies[2].body
            calls.close()

    asyncio.run(play())


def test_replies_come_in_any_order(tmp_path):
    async def play():
        go = asyncio.Event()

        async def late(call):
            await go.wait()
            return json("late")

        async def soon(call):
            go.set()
            return json("soon")

        path = tmp_path / "s.sock"
        async with front(path, HttpRoute("GET", "/late", late), HttpRoute("GET", "/soon", soon)):
            calls = CallConnection(path)
            found = await asyncio.gather(calls.call("", "GET", "/late"), calls.call("", "GET", "/soon"))
            assert [reply.body for reply in found] == [b'"late"\n', b'"soon"\n']
            calls.close()

    asyncio.run(play())


def test_a_netd_without_messages_is_called_by_http(tmp_path):
    async def play():
        path = tmp_path / "netd.sock"
        async with front(path, *ROUTES, calls=False):
            assert await CallConnection(path).call("", "GET", "/taken") is None
            client = NetdClient(path)
            answer = await client.forward("POST", "/echo/x", {"q": "a"}, b"{}")
            assert answer.status == 200 and msgspec.json.decode(answer.body)["q"] == ["a"]
            await client.close()

    asyncio.run(play())


def test_a_call_fails_when_netd_ends_and_the_next_one_connects_again(tmp_path):
    async def play():
        arrived = asyncio.Event()

        async def hang(call):
            arrived.set()
            await asyncio.Event().wait()

        path = tmp_path / "netd.sock"
        client = NetdClient(path)
        async with contextlib.AsyncExitStack() as stack:
            with pytest.raises(Unavailable, match="netd is not running"):
                await client.forward("GET", "/taken", {}, b"")
            closing, tasks = asyncio.Event(), Tasks()
            routes = [HttpRoute("GET", "/hang", hang), *ROUTES, *CallRoutes(lambda: served, tasks, closing).routes()]
            served = Front(Product("test", "1"), routes)
            serving = await serve(served, path, "no-such-group", tasks=tasks)
            call = asyncio.ensure_future(client.forward("GET", "/hang", {}, b""))
            await arrived.wait()
            closing.set()
            await tasks.close()
            await serving.cleanup()
            with pytest.raises(Unavailable):
                await call
            await stack.enter_async_context(front(path, *ROUTES))
            assert (await client.forward("GET", "/taken", {}, b"")).status == 409
            await client.close()

    asyncio.run(play())


def test_bytes_that_are_no_messages_end_the_connection_and_nothing_else(tmp_path):
    async def play():
        path = tmp_path / "s.sock"
        async with front(path, *ROUTES):
            for junk in (b"\xff" * 64, struct.pack("<I", MAX_MESSAGE + 1), struct.pack("<I", 4) + b"\xc1\xc1\xc1\xc1"):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(UPGRADE + b"Netd-Calls: 1\r\n\r\n" + junk)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()
            calls = CallConnection(path)
            assert (await calls.call("", "GET", "/taken")).status == 409
            calls.close()

    asyncio.run(play())


def test_a_client_of_another_version_is_refused(tmp_path):
    async def play():
        path = tmp_path / "s.sock"
        async with front(path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(UPGRADE + b"Netd-Calls: 2\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            writer.close()

    asyncio.run(play())


def test_a_server_that_sends_no_messages_is_not_waited_for(tmp_path):
    async def play():
        path = tmp_path / "s.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            calls = CallConnection(path)
            call = asyncio.ensure_future(calls.call("", "GET", "/taken"))
            accepted, _ = await asyncio.to_thread(listener.accept)
            with accepted:
                accepted.sendall(b"HTTP/1.1 101 UPGRADED\r\nNetd-Calls: 1\r\n\r\n" + struct.pack("<I", MAX_MESSAGE + 1))
                with pytest.raises(CallsLost):
                    await call

    asyncio.run(play())


def test_messages_are_split_wherever_the_stream_is_cut():
    replies = [CallReply(number, 200, "", bytes(number)) for number in (1, 0, 300)]
    data = b"".join(map(pack, replies))
    for size in (1, 3, 7, len(data)):
        splitter = Splitter(CallReply)
        chunks = (data[start : start + size] for start in range(0, len(data), size))
        assert [reply for chunk in chunks for reply in splitter.feed(chunk)] == replies
    with pytest.raises(MessageTooLarge):
        pack(CallRequest(1, "", "POST", "/", [], "", bytes(MAX_MESSAGE)))


async def five_lines(call):
    response = await stream(call, {})
    for number in range(5):
        await response.write(f"{number}\n".encode())
    return response


def test_lines_of_a_stream_are_read_until_it_ends(tmp_path):
    async def read():
        async with front(tmp_path / "s.sock", HttpRoute("GET", "/lines", five_lines), *ROUTES):
            found = [line async for line in event_lines.lines(tmp_path / "s.sock", "/lines")]
            with pytest.raises(event_lines.WrongResponse, match="409"):
                async for _ in event_lines.lines(tmp_path / "s.sock", "/taken"):
                    pass
        return found

    assert asyncio.run(read()) == [str(number).encode() for number in range(5)]
