"""attach/ws: output, input and the end of a container over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.installation import wait_until


def talk(place, path: str, conversation: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[object]]) -> object:
    async def run() -> object:
        connector = aiohttp.UnixConnector(path=str(place.run / "docker.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            asyncio.timeout(15),
            session.ws_connect(f"http://docker/v1.51{path}") as socket,
        ):
            return await conversation(socket)

    return asyncio.run(run())


async def everything(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    return b"".join([message.data async for message in socket])


def test_output_input_and_end(place, api, make):
    made = make("sh", "-c", "echo ready; read word; echo got $word; echo err >&2", OpenStdin=True, StdinOnce=True)
    api.start(made)
    wait_until(lambda: api.logs(made) == b"ready\n")

    async def conversation(socket: aiohttp.ClientWebSocketResponse) -> bytes:
        await socket.send_bytes(b"hello\n")
        return await everything(socket)

    seen = talk(place, f"/containers/{made}/attach/ws?logs=1&stream=1&stdin=1&stdout=1&stderr=1", conversation)
    assert b"ready\n" in seen and b"got hello\n" in seen and b"err\n" in seen


def test_a_socket_that_is_attached_before_the_start_gets_all_output(place, api, make):
    made = make("echo", "first")

    async def conversation(socket: aiohttp.ClientWebSocketResponse) -> bytes:
        await asyncio.to_thread(api.start, made)
        return await everything(socket)

    assert talk(place, f"/containers/{made}/attach/ws?stream=1&stdout=1", conversation) == b"first\n"


def test_the_detach_keys_end_the_socket_and_not_the_container(place, api, make):
    made = make("sh", "-c", "cat", OpenStdin=True, Tty=True)
    api.start(made)

    async def conversation(socket: aiohttp.ClientWebSocketResponse) -> bytes:
        await socket.send_str("a")
        await socket.send_bytes(b"\x10\x11")
        return await everything(socket)

    talk(place, f"/containers/{made}/attach/ws?stream=1&stdin=1&stdout=1", conversation)
    assert api.inspect_container(made)["State"]["Running"]


def test_a_client_that_leaves_frees_its_attachment(place, api, raw, make):
    made = make("cat", OpenStdin=True)

    async def conversation(socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_bytes(b"early\n")

    talk(place, f"/containers/{made}/attach/ws?stream=1&stdin=1&stdout=1", conversation)
    api.start(made)
    wait_until(lambda: api.inspect_container(made)["State"]["Running"])
    assert api.logs(made) == b""


@pytest.mark.parametrize(("state", "code"), [("none", 404), ("created", 400)])
def test_what_is_no_websocket_is_refused(raw, make, state, code):
    name = make() if state == "created" else "nosuch"
    assert raw.ask("GET", f"/containers/{name}/attach/ws?stream=1")[0] == code
