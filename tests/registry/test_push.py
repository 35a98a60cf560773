"""Push to Debian's docker-registry: what is there is not sent again, and what arrives is what was here."""

from __future__ import annotations

import asyncio
import threading

import pytest
from aiohttp import web

from netd.common.errors import BadRequest, NotFound
from runtime import manifests
from runtime.distribution.push import Pusher
from runtime.images import reference
from runtime.images.recipe import DamagedLayer
from runtime.manifests import DOCKER_LAYER
from runtime.platforms import Platform
from runtime.progress import Report
from runtime.registry.auth_config import ANONYMOUS, Credentials
from runtime.registry.errors import BrokenTransfer, RegistryError
from tests.registry.images import RemoteImage, layer, shop
from tests.registry.lying import client, lying
from tests.registry.servers import PASSWORD, USER, free_port, registry

FIRST, SECOND = layer(a=b"1" * 100_000), layer(b=bytes(range(256)) * 4000)
IMAGE = RemoteImage([FIRST, SECOND])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry"), free_port()) as host:
        yield host


async def filled(here, name="x:1") -> None:
    """Put the image into the store, as load and build do."""
    import io

    diffs: list[str] = []
    with here.images.lease() as lease:
        for archive in IMAGE.layers:
            made = here.layers.unpack(io.BytesIO(archive), diffs)
            await here.images.publish(made, lease)
            diffs.append(made.diff)
        await here.images.add_image(IMAGE.blobs[IMAGE.id], [reference.parse(name)])


def run(tmp_path, scenario) -> None:
    async def whole():
        async with client() as registries, shop(tmp_path, registries) as here:
            await scenario(here, registries)

    asyncio.run(whole())


def statuses(messages) -> list[str]:
    return sorted({message["status"] for message in messages if "id" in message})


def test_an_image_is_pushed_and_pulled_by_another_host_unchanged(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/one/x:1")
        messages = await here.push(f"{plain}/one/x:1")
        assert messages[0] == {"status": f"The push refers to repository [{plain}/one/x]"}
        assert statuses(messages) == ["Preparing", "Pushed", "Pushing"]
        (digest,) = here.images.digests_of(IMAGE.id)
        data = (await (await registries.repository(plain, "one/x")).manifest("1")).data
        assert messages[-1] == {
            "progressDetail": {}, "aux": {"Tag": "1", "Digest": digest.digest, "Size": len(data)}
        }  # fmt: skip
        assert messages[-2] == {"status": f"1: digest: {digest.digest} size: {len(data)}"}
        async with shop(tmp_path, registries, "other") as other:
            await other.pull(f"{plain}/one/x:1")
            (found,) = other.images.all()
            assert found.id == IMAGE.id
            chains = zip(found.layers, found.document.rootfs.diff_ids, strict=True)
            assert [b"".join(other.layers.archive(*pair)) for pair in chains] == IMAGE.layers

    run(tmp_path, scenario)


def test_a_second_push_uploads_nothing_and_another_repository_mounts(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/two/x:1")
        await here.push(f"{plain}/two/x:1")
        image = here.images.all()[0]
        await here.images.tag(image, reference.parse(f"{plain}/two/x:2"))
        await here.images.tag(image, reference.parse(f"{plain}/elsewhere:1"))
        assert statuses(await here.push(f"{plain}/two/x:1")) == ["Layer already exists", "Preparing"]
        messages = await here.push(f"{plain}/two/x")
        assert [message["aux"]["Tag"] for message in messages if "aux" in message] == ["1", "2"]
        assert statuses(await here.push(f"{plain}/elsewhere:1")) == ["Mounted from two/x", "Preparing"]
        assert await (await registries.repository(plain, "elsewhere")).tags() == ["1"]

    run(tmp_path, scenario)


def test_a_pulled_image_is_pushed_back_under_its_digest_without_an_upload(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/three/x:1")
        await here.push(f"{plain}/three/x:1")
        async with shop(tmp_path, registries, "other") as other:
            await other.pull(f"{plain}/three/x:1")
            before = other.images.digests_of(IMAGE.id)
            assert statuses(await other.push(f"{plain}/three/x:1")) == ["Layer already exists", "Preparing"]
            assert other.images.digests_of(IMAGE.id) == before

    run(tmp_path, scenario)


def test_what_is_not_here_is_refused_in_dockers_words(tmp_path, plain):
    async def scenario(here, registries):
        with pytest.raises(NotFound, match=rf"^An image does not exist locally with the tag: {plain}/no$"):
            await here.push(f"{plain}/no:1")
        with pytest.raises(NotFound, match=rf"^An image does not exist locally with the tag: {plain}/no$"):
            await here.push(f"{plain}/no")
        await filled(here, f"{plain}/four:1")
        with pytest.raises(NotFound, match=rf"^tag does not exist: {plain}/four:2$"):
            await here.push(f"{plain}/four:2")
        with pytest.raises(BadRequest, match=r"^cannot push a digest reference$"):
            await here.push(f"{plain}/four@sha256:{'0' * 64}")
        with pytest.raises(NotFound, match=r"does not match the specified platform \(linux/s390x\)$"):
            await here.pusher.push(
                reference.parse(f"{plain}/four:1"), ANONYMOUS, Report(), Platform("linux", "s390x")
            )  # fmt: skip

    run(tmp_path, scenario)


def test_a_password_is_needed_where_the_registry_asks_for_one(tmp_path):
    async def scenario(here, registries):
        await filled(here, f"{host}/x:1")
        with pytest.raises(RegistryError, match=r"^no basic auth credentials$"):
            await here.push(f"{host}/x:1")
        with pytest.raises(RegistryError, match=r"^unauthorized: authentication required$"):
            await here.push(f"{host}/x:1", Credentials(USER, "wrong"))
        assert "Pushed" in statuses(await here.push(f"{host}/x:1", Credentials(USER, PASSWORD)))
        with pytest.raises(RegistryError, match=f'^Get "http://{host}/v2/x/manifests/2": no basic auth credentials$'):
            await here.pull(f"{host}/x:2")

    with registry(tmp_path / "registry", free_port(), password=True) as host:
        run(tmp_path, scenario)


def test_a_layer_that_was_changed_on_disk_is_not_pushed(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/five:1")
        (changed,) = here.paths.layers.glob("*/b")
        changed.write_bytes(b"!" * changed.stat().st_size)
        with pytest.raises(DamagedLayer, match="the file 'b' of the layer"):
            await here.push(f"{plain}/five:1")
        with pytest.raises(RegistryError) as raised:
            await (await registries.repository(plain, "five")).manifest("1")
        assert raised.value.status == 404

    run(tmp_path, scenario)


def test_an_image_that_is_deleted_during_its_push_stays_deleted(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/gone:1")
        image = here.images.all()[0]
        inner, loop, first = here.layers.archive, asyncio.get_running_loop(), threading.Lock()

        def deleting(chain, diff):
            if first.acquire(blocking=False):
                asyncio.run_coroutine_threadsafe(here.images.delete(image), loop).result(10)
            yield from inner(chain, diff)

        here.layers.archive = deleting
        assert "Pushed" in statuses(await here.push(f"{plain}/gone:1"))
        assert here.images.all() == [] and here.images.image_of(reference.parse(f"{plain}/gone:1")) is None

    run(tmp_path, scenario)


def test_a_zstd_layer_is_pushed_as_what_it_is(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/six:1")
        await here.push(f"{plain}/six:1")
        image = here.images.all()[0]
        (source, *_) = here.images.sources.of(image.document.rootfs.diff_ids[0])
        assert source.media_type == DOCKER_LAYER
        zstd = type(source)(source.repository, source.digest, source.size, f"{manifests.OCI_LAYER}+zstd")
        await here.images.sources.add(image.document.rootfs.diff_ids[0], zstd)
        await here.push(f"{plain}/six:1")
        found = manifests.parse((await (await registries.repository(plain, "six")).manifest("1")).data)
        assert found.media_type == manifests.OCI_MANIFEST
        assert [entry.media_type.rpartition("+")[2] for entry in found.layers] == ["zstd", "gzip"]

    run(tmp_path, scenario)


def failing_push(tmp_path, patch):
    """Push to a registry whose uploads *patch* answers; return (error, requests of uploads)."""

    async def uploads(request):
        return web.Response(status=202, headers={"Location": "/v2/a/b/blobs/uploads/1?state=a%2Fb"})

    async def answer(request):
        return web.Response(status=204) if request.method == "DELETE" else await patch(request)

    async def whole():
        async with lying() as server, client() as registries, shop(tmp_path, registries) as here:
            server.answers |= {"blobs/uploads/": uploads, "blobs/uploads/1": answer}
            await filled(here, f"{server.host}/a/b:1")
            with pytest.raises(RegistryError) as raised:
                await here.push(f"{server.host}/a/b:1")
            return raised.value, [(method, path) for method, path, _ in server.seen if "uploads/1" in path]

    return asyncio.run(whole())


def test_an_upload_that_the_registry_does_not_take_ends_and_is_cancelled(tmp_path):
    async def silent(request):
        await asyncio.sleep(60)

    error, seen = failing_push(tmp_path, silent)
    assert isinstance(error, BrokenTransfer)
    assert ("DELETE", "blobs/uploads/1") in seen


def test_an_overloaded_registry_gets_the_upload_again(tmp_path):
    async def overloaded(request):
        await request.read()
        return web.Response(status=503)

    error, seen = failing_push(tmp_path, overloaded)
    assert "503" in error.message
    assert 3 <= len([method for method, _ in seen if method == "PATCH"]) <= 6


def test_an_upload_location_that_is_no_url_is_refused(tmp_path):
    async def elsewhere(request):
        await request.read()
        return web.Response(status=202, headers={"Location": "file:///etc/passwd"})

    assert "cannot be followed" in failing_push(tmp_path, elsewhere)[0].message


def test_a_cancelled_push_ends_and_reads_no_more_of_the_layer(tmp_path, plain):
    async def scenario(here, registries):
        await filled(here, f"{plain}/seven:1")
        reading = threading.Event()
        release = threading.Event()
        inner = here.layers.archive

        def slow(chain, diff):
            for data in inner(chain, diff):
                reading.set()
                release.wait(10)
                yield data

        here.layers.archive = slow
        task = asyncio.create_task(
            Pusher(here.images, here.layers, registries).push(
                reference.parse(f"{plain}/seven:1"), ANONYMOUS, Report()
            )
        )  # fmt: skip
        await asyncio.to_thread(reading.wait, 10)
        task.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(tmp_path, scenario)
