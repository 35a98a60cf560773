"""The client library for runtimes, and netd's events."""

import asyncio
import json
import secrets
import time
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote

import pytest

from netd import service_manager
from netd.api import ConnectRequest, DisconnectRequest, EndpointSettings, PortBinding, SandboxRequest
from netd.client import NetdClient
from netd.common.errors import BadRequest, Conflict, Forbidden, NotFound, ServerError, Unavailable


def run(site, play):
    """Run *play* with a client."""

    async def body():
        client = NetdClient(site.run / "netd.sock")
        try:
            return await play(client)
        finally:
            await client.close()

    return asyncio.run(body())


def request(name, **kwargs):
    return SandboxRequest(id=secrets.token_hex(32), name=name, **kwargs)


def test_a_sandbox_from_its_making_to_its_end(place):
    place.network("n", "10.1.0.0/24")

    async def play(client):
        asked = request("web", port_bindings={"80/tcp": [PortBinding("", "8080")]})
        made = await client.create_sandbox(asked)
        assert made.network_settings.ports == {"80/tcp": [PortBinding("0.0.0.0", "8080")]}
        assert [made] == await client.sandboxes()
        assert [view.id for view in await client.sandboxes()] == [made.id]
        settings = EndpointSettings(aliases=["w"])
        connected = await client.connect("n", ConnectRequest(container=made.id, endpoint_config=settings))
        assert connected.network_settings.networks["n"].aliases == ["w"] and "10.1.0.2" in connected.hosts
        left = await client.disconnect("bridge", DisconnectRequest(container=made.id))
        assert list(left.network_settings.networks) == ["n"]
        assert (await client.rename_sandbox(made.id, "shop")).name == "shop"
        for _ in range(2):
            await client.delete_sandbox(made.id)
        assert await client.sandboxes() == []

    run(place, play)


def test_refusals_are_raised_as_what_they_were(place):
    place.network("n", "10.1.0.0/24")

    async def play(client):
        first = request("first", networks={"n": EndpointSettings()})
        await client.create_sandbox(first)
        for kind, body in (
            (BadRequest, request("a b")),
            (NotFound, request("x", network_mode="absent")),
            (Conflict, first),
            (ServerError, request("x", sysctls={"net.nosuch.thing": "1"})),
        ):
            with pytest.raises(kind) as refused:
                await client.create_sandbox(body)
            assert refused.value.message
        with pytest.raises(Forbidden, match="already exists in network n"):
            await client.connect("n", ConnectRequest(container="first"))

    run(place, play)


def test_calls_of_others_are_handed_on_as_they_are(place):
    async def play(client):
        body = json.dumps({"Name": "shop"}).encode()
        made = await client.forward("POST", "/v1.44/networks/create", {}, body)
        assert made.status == 201 and json.loads(made.body)["Id"]
        filters = {"filters": '{"name":["shop"]}'}
        listed = await client.forward("GET", "/networks", filters, b"")
        assert [network["Name"] for network in json.loads(listed.body)] == ["shop"]
        gone = await client.forward("DELETE", "/networks/a%2Fb", {}, b"")
        assert (gone.status, json.loads(gone.body)) == (404, {"message": "network a/b not found"})

    run(place, play)


def test_a_missing_netd_is_named(tmp_path):
    async def play():
        client = NetdClient(tmp_path / "netd.sock")
        with pytest.raises(Unavailable, match=r"netd is not running .*: start it with"):
            await client.sandboxes()
        with pytest.raises(Unavailable, match=r"netd is not running .*: start it with"):
            async for _ in client.events():
                pass
        await client.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({}, "netd --run-dir /r"),
        ({"NETD_START_COMMAND": "sudo tools/quickstart --start"}, "sudo tools/quickstart --start"),
        ({"NETD_START_COMMAND": "x", "NOTIFY_SOCKET": "/run/systemd/notify"}, "systemctl start netd"),
    ],
)
def test_the_command_that_starts_netd_is_that_of_the_installation(monkeypatch, environment, command):
    for name in ("NETD_START_COMMAND", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert service_manager.start_command(Path("/r")) == command


def test_events_tell_what_happens_in_order(place):
    async def play(client):
        async with aclosing(client.events()) as events:
            first = asyncio.ensure_future(anext(events))
            await asyncio.wait([first], timeout=0.2)
            made = json.loads((await client.forward("POST", "/networks/create", {}, b'{"Name":"shop"}')).body)["Id"]
            box = await client.create_sandbox(request("web", networks={"shop": EndpointSettings()}))
            await client.delete_sandbox(box.id)
            await client.forward("DELETE", "/networks/shop", {}, b"")
            seen = [await asyncio.wait_for(first, 5)]
            seen += [await asyncio.wait_for(anext(events), 5) for _ in range(3)]
        assert [event.action for event in seen] == ["create", "connect", "disconnect", "destroy"]
        assert {event.actor.id for event in seen} == {made}
        who = {"name": "shop", "type": "bridge"}
        assert seen[0].actor.attributes == who == seen[3].actor.attributes
        assert seen[1].actor.attributes == {**who, "container": box.id} == seen[2].actor.attributes

    run(place, play)


def test_a_failed_start_is_no_event_and_a_prune_tells_of_each(place):
    since = time.time()
    place.network("a")
    place.refusal(404, "POST", "/netd/v1/sandboxes", place.request("x", {"a": {}, "absent": {}}))
    place.ask(200, "POST", "/networks/prune")

    def told(more=""):
        _, text = place.exchange("GET", f"/events?since={since}&until={time.time()}{more}")
        return [(event["Type"], event["Action"], event["scope"]) for event in map(json.loads, text.splitlines())]

    assert told() == [("network", what, "local") for what in ("create", "destroy", "prune")]
    assert told("&filters=" + quote('{"event":["destroy"]}')) == [("network", "destroy", "local")]


def test_a_stopping_netd_ends_its_streams_at_once(site):
    async def play(client):
        events = client.events()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.wait([waiting], timeout=0.2)
        begin = time.monotonic()
        await asyncio.to_thread(site.stop)
        with pytest.raises(Unavailable):
            await waiting
        assert time.monotonic() - begin < 10

    run(site, play)


@pytest.mark.parametrize(
    ("rest", "problem", "message"),
    [
        ([{"id": "second", "status": "Deleted"}, {"aux": {"NetworksDeleted": ["first", "second"]}}], None, ""),
        ([{"errorDetail": {"message": "the disk is full"}}], ServerError, "the disk is full"),
        ([], Unavailable, "ended before all networks were deleted"),
    ],
)
def test_a_network_that_was_pruned_is_reported_before_the_next_is_deleted(tmp_path, rest, problem, message):
    async def body():
        told = asyncio.Event()

        async def serve(reader, writer):
            assert (await reader.readline()).startswith(b"POST /v1.56/networks/prune?stream=1&filters=")
            writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"id":"first","status":"Deleted"}\n')
            await told.wait()
            writer.write(b"".join(json.dumps(line).encode() + b"\n" for line in rest))
            await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(serve, tmp_path / "netd.sock"):
            client = NetdClient(tmp_path / "netd.sock")
            names = []
            try:
                async with aclosing(client.prune_networks('{"label":["a"]}')) as pruned:
                    async for name in pruned:
                        names.append(name)
                        told.set()
            finally:
                await client.close()
        return names

    if problem is None:
        assert asyncio.run(body()) == ["first", "second"]
        return
    with pytest.raises(problem, match=message):
        asyncio.run(body())
