"""A registry that lies, stalls or overloads: every byte is checked, everything is bounded, no credentials leak."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from aiohttp import web

from runtime.manifests import LARGEST_DOCUMENT
from runtime.registry.auth_config import Credentials
from runtime.registry.download import Blob, Progress, download
from runtime.registry.errors import BrokenTransfer, RegistryError, WrongContent
from tests.registry.lying import DATA, DIGEST, Lying, client, cut, lying

USER = Credentials("user", "secret")


def fetched(tmp_path, server_answers, *, begun=b"", progress=None):
    """Download the blob from a registry with the given answers; return (server, bytes)."""

    async def run() -> tuple[Lying, bytes]:
        async with lying(**server_answers) as server, client() as registry:
            repository = await registry.repository(server.host, "a/b", USER)
            target = tmp_path / "blob"
            if begun:
                target.write_bytes(begun)
            try:
                await download(repository, Blob(DIGEST, len(DATA)), target, progress or Progress())
            except RegistryError as error:
                error.server = server
                raise
            return server, target.read_bytes()

    return asyncio.run(run())


def manifest(reference: str, answer) -> object:
    async def run():
        async with lying(**{f"manifests_{reference}": answer}) as server, client() as registry:
            repository = await registry.repository(server.host, "a/b")
            return await repository.manifest(reference)

    return asyncio.run(run())


async def whole(request: web.Request) -> web.Response:
    return web.Response(body=DATA)


def test_a_blob_arrives_whole(tmp_path):
    server, data = fetched(tmp_path, {"blob": whole})
    assert data == DATA
    assert len(server.requests(f"blobs/{DIGEST}")) == 1


def test_a_blob_with_other_bytes_is_refused_and_deleted(tmp_path):
    async def flipped(request):
        return web.Response(body=DATA[:-4] + b"evil")

    with pytest.raises(WrongContent, match=f"verification failed for digest {DIGEST}"):
        fetched(tmp_path, {"blob": flipped})
    assert not (tmp_path / "blob").exists()


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1, 1 << 50])
def test_a_blob_of_another_length_is_refused_before_it_is_read(tmp_path, length):
    async def other(request):
        return await cut(request, DATA[:100], length)

    with pytest.raises(WrongContent, match="as its manifest says"):
        fetched(tmp_path, {"blob": other})


def test_an_endless_blob_without_length_is_cut_at_its_size(tmp_path):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    with pytest.raises(WrongContent, match="is longer than"):
        fetched(tmp_path, {"blob": endless})


def test_a_cut_connection_is_continued_by_a_range(tmp_path):
    async def cut_twice(request):
        begin = int(request.headers.get("Range", "bytes=0-")[6:-1])
        rest = DATA[begin:]
        if begin > 2 * len(DATA) // 3:
            return web.Response(body=rest, status=206, headers=_range(begin))
        head = {} if not begin else _range(begin)
        return await cut(request, rest[:400_000], len(rest), 206 if begin else 200, **head)

    waits = []
    server, data = fetched(tmp_path, {"blob": cut_twice}, progress=Progress(waiting=waits.append))
    assert data == DATA
    asked = [headers.get("Range") for headers in server.requests(f"blobs/{DIGEST}")]
    assert asked[0] is None and len(asked) >= 3 and all(text.startswith("bytes=") for text in asked[1:])
    assert len(waits) == len(asked) - 1


def test_a_file_of_an_earlier_attempt_is_continued(tmp_path):
    async def rest(request):
        begin = int(request.headers["Range"][6:-1])
        return web.Response(body=DATA[begin:], status=206, headers=_range(begin))

    server, data = fetched(tmp_path, {"blob": rest}, begun=DATA[:500_000])
    assert data == DATA
    assert server.requests(f"blobs/{DIGEST}")[0]["Range"] == "bytes=500000-"


def test_a_wrong_file_of_an_earlier_attempt_is_found_by_the_digest(tmp_path):
    async def rest(request):
        begin = int(request.headers["Range"][6:-1])
        return web.Response(body=DATA[begin:], status=206, headers=_range(begin))

    with pytest.raises(WrongContent):
        fetched(tmp_path, {"blob": rest}, begun=b"!" * 1000)
    assert not (tmp_path / "blob").exists(), "the next attempt would fail too"


def test_a_registry_without_ranges_sends_the_blob_again(tmp_path):
    assert fetched(tmp_path, {"blob": whole}, begun=DATA[:500_000])[1] == DATA


def test_another_range_than_asked_for_is_refused(tmp_path):
    async def other(request):
        return web.Response(body=DATA[5:], status=206, headers=_range(5))

    with pytest.raises(WrongContent, match="another range"):
        fetched(tmp_path, {"blob": other}, begun=DATA[:500_000])


def test_a_registry_that_restarts_during_a_download_is_waited_for(tmp_path):
    async def run():
        async with client() as registry:
            async with lying() as server:

                async def dying(request):
                    response = await cut(request, DATA[:100_000], len(DATA))
                    stopped.set()
                    return response

                server.answers[f"blobs/{DIGEST}"] = dying
                repository = await registry.repository(server.host, "a/b")
                stopped, refused = asyncio.Event(), asyncio.Event()
                waits = []

                def waiting(seconds):
                    waits.append(seconds)
                    if len(waits) == 2:
                        refused.set()

                arriving = asyncio.create_task(
                    download(repository, Blob(DIGEST, len(DATA)), tmp_path / "blob", Progress(waiting=waiting))
                )
                await stopped.wait()
            await refused.wait()
            async with lying(blob=whole, port=server.port):
                await arriving

    asyncio.run(run())
    assert (tmp_path / "blob").read_bytes() == DATA


def test_a_connection_that_is_always_cut_ends_with_an_error(tmp_path):
    async def nothing(request):
        return await cut(request, b"", len(DATA))

    with pytest.raises(BrokenTransfer) as raised:
        fetched(tmp_path, {"blob": nothing})
    assert len(raised.value.server.requests(f"blobs/{DIGEST}")) == 3


def test_slow_bytes_do_not_hold_a_pull_for_ever(tmp_path):
    async def slow(request):
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    began = time.monotonic()
    with pytest.raises(BrokenTransfer, match="too slowly"):
        fetched(tmp_path, {"blob": slow})
    assert time.monotonic() - began < 10


def test_a_silent_registry_does_not_hold_a_pull_for_ever():
    async def silent(request):
        await asyncio.sleep(60)

    with pytest.raises(RegistryError, match=r"Client\.Timeout"):
        manifest("1", silent)


@pytest.mark.parametrize("announced", [True, False])
def test_a_manifest_above_the_limit_is_not_read(announced):
    sent = 0

    async def huge(request):
        nonlocal sent
        headers = {"Content-Length": str(1 << 40)} if announced else {}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    with pytest.raises(WrongContent, match=f"larger than {LARGEST_DOCUMENT} bytes"):
        manifest("1", huge)
    assert sent < 4 * LARGEST_DOCUMENT


def test_a_manifest_of_another_digest_is_refused():
    async def other(request):
        return web.Response(body=b"{}", content_type="application/vnd.oci.image.manifest.v1+json")

    with pytest.raises(WrongContent, match="manifest verification failed for digest"):
        manifest("sha256:" + "1" * 64, other)


def test_endless_redirects_end():
    asked = 0

    async def loop(request):
        nonlocal asked
        asked += 1
        raise web.HTTPTemporaryRedirect(request.path)

    with pytest.raises(RegistryError, match="stopped after 10 redirects"):
        manifest("1", loop)
    assert asked == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "http://[::", "//", "http:///x", "x" * 20000])
def test_redirects_to_what_is_no_url_are_refused(target):
    async def away(request):
        return web.Response(status=307, headers={"Location": target[:8000]})

    with pytest.raises(RegistryError):
        manifest("1", away)


def test_credentials_do_not_follow_a_redirect_to_another_server(tmp_path):
    async def run():
        async with lying(elsewhere=whole) as other, client() as registry:
            other.answers["/elsewhere"] = whole

            async def protected(request):
                if "Authorization" not in request.headers:
                    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
                return web.Response(
                    status=307, headers={"Location": f"http://{other.host}/elsewhere?X-Signature=a%2Fb"}
                )

            async with lying(blob=protected) as server:
                repository = await registry.repository(server.host, "a/b", USER)
                await download(repository, Blob(DIGEST, len(DATA)), tmp_path / "blob", Progress())
                asked = server.requests(f"blobs/{DIGEST}")
                return asked, other.seen

    asked, seen = asyncio.run(run())
    assert [("Authorization" in headers) for headers in asked] == [False, True]
    assert [path for _, path, _ in seen] == ["/elsewhere"]
    assert "Authorization" not in seen[0][2]


def test_an_overloaded_registry_is_asked_again_after_the_time_it_names():
    times = []

    async def overloaded(request):
        times.append(time.monotonic())
        if len(times) == 1:
            return web.Response(status=429, headers={"Retry-After": "0"})
        if len(times) == 2:
            return web.Response(status=503)
        return web.Response(body=b"{}")

    assert manifest("1", overloaded).data == b"{}"
    assert len(times) == 3


def test_a_registry_that_stays_overloaded_gets_three_requests_and_its_error_is_reported():
    times = []

    async def overloaded(request):
        times.append(time.monotonic())
        return web.json_response({"errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate limit"}]}, status=429)

    with pytest.raises(RegistryError, match="toomanyrequests: pull rate limit") as raised:
        manifest("1", overloaded)
    assert (len(times), raised.value.status) == (3, 429)


def test_a_long_retry_after_is_not_waited_for():
    async def overloaded(request):
        return web.Response(status=429, headers={"Retry-After": "3600"})

    began = time.monotonic()
    with pytest.raises(RegistryError, match="toomanyrequests"):
        manifest("1", overloaded)
    assert time.monotonic() - began < 60


def test_an_error_text_of_a_registry_is_bounded_and_printable():
    async def broken(request):
        text = "\x1b[31m" + "x" * 50_000
        return web.Response(body=json.dumps({"errors": [{"code": "DENIED", "message": text}]}), status=403)

    with pytest.raises(RegistryError) as raised:
        manifest("1", broken)
    assert len(raised.value.message) < 1000 and "\x1b" not in raised.value.message


def test_tags_are_read_by_pages_which_do_not_leave_the_registry():
    async def run(link):
        async def tags(request):
            if "last" in request.query:
                return web.json_response({"tags": ["b"]})
            return web.json_response({"tags": ["a"]}, headers={"Link": link})

        async with lying(tags_list=tags) as server, client() as registry:
            return await (await registry.repository(server.host, "a/b")).tags()

    assert asyncio.run(run('</v2/a/b/tags/list?n=1&last=a>; rel="next"')) == ["a", "b"]
    assert asyncio.run(run('<http://127.0.0.1:1/v2/a/b/tags/list?last=a>; rel="next"')) == ["a"]


def test_endless_pages_of_tags_end():
    async def run():
        async def tags(request):
            number = int(request.query.get("last", "0"))
            names = [f"{number}-{index}" for index in range(500)]
            return web.json_response(
                {"tags": names}, headers={"Link": f'</v2/a/b/tags/list?last={number + 1}>; rel="next"'}
            )

        async with lying(tags_list=tags) as server, client() as registry:
            await (await registry.repository(server.host, "a/b")).tags()

    with pytest.raises(WrongContent, match="more than 20000 tags"):
        asyncio.run(run())


def _range(begin: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
