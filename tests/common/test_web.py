"""Docker's HTTP conventions, tested with raw bytes on a unix socket."""

import asyncio
import json
import socket

import msgspec
import pytest

from netd.common.daemon_locks import lock
from netd.common.errors import Conflict, NotModified
from netd.common.http.hijack import hijack
from netd.common.http.listen import serve, serve_socket
from netd.common.http.listening_socket import listening
from netd.common.http.web import Front, HttpRoute, Product, empty
from netd.common.http.web import json as answer


class Body(msgspec.Struct):
    name: str = ""
    count: int = 0


async def echo(call):
    return answer(
        {"path": call.params.get("name"), "body": msgspec.to_builtins(await call.body(Body)), "all": call.flag("all")}
    )


async def nothing(call):
    raise NotModified("already so")


async def broken(call):
    raise ZeroDivisionError


async def taken(call):
    raise Conflict("the name <x> & y is taken")


async def raw(call):
    body = await call.body(Body)
    taken = await hijack(call, "application/vnd.docker.raw-stream", {})
    taken.writer.write(f"[{body.name}]".encode() + await taken.reader.read())
    await taken.writer.drain()
    return taken


ROUTES = [
    HttpRoute("POST", "/echo", echo),
    HttpRoute("GET", "/things/{name:path}/json", echo),
    HttpRoute("GET", "/same", nothing),
    HttpRoute("GET", "/broken", broken),
    HttpRoute("GET", "/taken", taken),
    HttpRoute("DELETE", "/things/{name}", lambda call: asyncio.sleep(0, empty())),
    HttpRoute("POST", "/raw", raw),
]


@pytest.fixture
def ask(tmp_path):
    """Send raw bytes to a server with the routes above; return status, headers and body of the response."""
    loop = asyncio.new_event_loop()
    path = tmp_path / "s.sock"
    runner = loop.run_until_complete(serve(Front(Product("test", "1"), ROUTES), path, "no-such-group"))

    def talk(data, half_close=False):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def call(method, target, body=b"", kind="application/json", raw=None, half_close=False):
        head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        head += "Connection: close\r\n\r\n" if raw is None else "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        out = loop.run_until_complete(asyncio.to_thread(talk, head.encode() + body + (raw or b""), half_close))
        top, _, rest = out.partition(b"\r\n\r\n")
        first, *lines = top.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), rest

    yield call
    loop.run_until_complete(runner.cleanup())
    loop.close()


def test_a_client_that_connects_before_the_daemon_serves_gets_its_answer_later(tmp_path):
    path = tmp_path / "s.sock"

    async def late():
        with listening(path, "no-such-group") as opened:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            await writer.drain()
            serving = await serve_socket(Front(Product("test", "1"), ROUTES), opened)
            answered = await reader.read()
            writer.close()
            await serving.cleanup()
        return answered

    assert asyncio.run(late()).startswith(b"HTTP/1.1 200 ")
    assert not path.exists()


def test_ping_tells_the_version_and_head_has_no_body(ask):
    status, headers, body = ask("GET", "/v1.44/_ping")
    assert (status, body, headers["Api-Version"], headers["Ostype"]) == (200, b"OK", "1.56", "linux")
    assert ask("HEAD", "/_ping")[2] == b""


@pytest.mark.parametrize(
    ("version", "words"),
    [("1.99", "is too new. Maximum supported API version is 1.56"), ("1.20", "is too old. Minimum")],
)
def test_versions_outside_the_range_are_refused(ask, version, words):
    status, _, body = ask("GET", f"/v{version}/_ping")
    assert status == 400 and words in json.loads(body)["message"]


def test_unknown_paths_and_methods_are_not_found(ask):
    for method, path in (("GET", "/nowhere"), ("DELETE", "/echo"), ("GET", "/things//json")):
        status, _, body = ask(method, path)
        assert (status, json.loads(body)) == (404, {"message": "page not found"})


def test_names_may_hold_slashes_where_the_route_says_so(ask):
    assert json.loads(ask("GET", "/v1.44/things/host:5000/a/b/json?all=1")[2]) == {
        "path": "host:5000/a/b",
        "body": {"name": "", "count": 0},
        "all": True,
    }
    assert ask("DELETE", "/things/a")[0] == 204


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "invalid JSON"),
        (b'{"name":7}', "invalid JSON"),
        (b"{} x", "unexpected content after JSON"),
        (b'{"count":NaN}', "invalid JSON"),
        (b"[" * 100000, "invalid JSON"),
        (b'{"name":"\xff"}', "invalid JSON"),
    ],
)
def test_bad_bodies_are_bad_requests(ask, body, words):
    status, _, answer = ask("POST", "/echo", body)
    assert status == 400 and words in json.loads(answer)["message"]


def test_other_content_types_are_refused_and_no_body_is_all_defaults(ask):
    status, _, body = ask("POST", "/echo", b"{}", kind="text/plain")
    assert status == 400 and "must be 'application/json'" in json.loads(body)["message"]
    assert ask("POST", "/echo", b"", kind="text/plain")[0] == 200
    assert json.loads(ask("POST", "/echo", b'{"name":"n","unknown":1}')[2])["body"] == {"name": "n", "count": 0}


def test_problems_become_docker_errors(ask):
    assert ask("GET", "/same")[0] == 304
    status, headers, body = ask("GET", "/taken")
    assert (status, body) == (409, b'{"message":"the name <x> & y is taken"}\n')
    assert headers["Api-Version"] == "1.56"
    assert ask("GET", "/broken")[0] == 500


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_an_upgraded_connection_is_raw_and_outlives_the_end_of_input(ask, sent):
    status, headers, rest = ask("POST", "/raw", b'{"name":"n"}', raw=sent, half_close=True)
    assert (status, headers["Upgrade"], rest) == (101, "tcp", b"[n]" + sent)


def test_one_process_holds_the_lock(tmp_path):
    lock(tmp_path / "l", "netd")
    with pytest.raises(Conflict, match="another netd runs on"):
        lock(tmp_path / "l", "netd")
