"""Pull: images of a registry become images of the store, or nothing does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

import pytest
from aiohttp import web

from netd.common.errors import BadRequest, NotFound
from runtime import platforms
from runtime.distribution import blob_files
from runtime.images import compatibility, reference
from runtime.images.tarstream import BadArchive
from runtime.manifests import OCI_LAYER
from runtime.progress import Report
from runtime.registry.errors import RegistryError, WrongContent
from runtime.registry.repository import digest_of
from tests.registry.images import RemoteImage, Shop, blob, document, index, layer, shop
from tests.registry.lying import Lying, client, cut, lying

try:
    from compression import zstd
except ImportError:  # before Python 3.14
    from backports import zstd

FIRST, SECOND = layer(a=b"1", both=b"lower"), layer(b=b"2" * 300_000, both=b"upper")


def pulled(tmp_path, answers, name="a/b:1", platform=None, then=None):
    """Pull *name* from a registry with *answers*; return (server, shop).  *then* runs afterwards."""

    async def run() -> tuple[Lying, Shop]:
        async with lying() as server, client() as registry, shop(tmp_path, registry) as here:
            server.answers.update(answers)
            await here.pull(f"{server.host}/{name}", platform)
            if then is not None:
                await then(server, here)
            return server, here

    return asyncio.run(run())


def failed(tmp_path, answers, kind, match, platform=None):
    """Pull, which must fail, and leave neither image nor layer."""

    async def run():
        async with lying() as server, client() as registry, shop(tmp_path, registry) as here:
            server.answers.update(answers)
            with pytest.raises(kind, match=match) as raised:
                await here.pull(f"{server.host}/a/b:1", platform)
            assert here.images.all() == [] and here.files() == set()
            return raised.value, here

    return asyncio.run(run())


def test_an_image_arrives_with_its_names_and_dockers_messages(tmp_path):
    image = RemoteImage([FIRST, SECOND])
    server, here = pulled(tmp_path, image.answers())
    (found,) = here.images.all()
    assert found.id == image.id and here.files() == {"a", "b", "both"}
    assert [name.short for name in here.images.names_of(image.id)] == [f"{server.host}/a/b:1"]
    assert [name.digest for name in here.images.digests_of(image.id)] == [image.digest]
    assert here.messages[0] == {"status": "Pulling from a/b", "id": "1"}
    whole = [
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
    ]
    for digest in image.layer_digests:
        assert here.statuses(digest) == whole
    assert [message["status"] for message in here.messages[-2:]] == [
        f"Digest: {image.digest}",
        f"Status: Downloaded newer image for {server.host}/a/b:1",
    ]
    assert all(message.get("id") for message in here.messages if "progressDetail" in message)
    assert here.leftovers() == []


def test_a_second_pull_reads_no_manifest_and_no_blob(tmp_path):
    image = RemoteImage([FIRST])

    async def again(server, here):
        server.seen.clear()
        here.messages.clear()
        await here.pull(f"{server.host}/a/b:1")
        assert [(method, path) for method, path, _ in server.seen if path != "/v2/"] == [("HEAD", "manifests/1")]
        assert here.messages[-1]["status"].startswith("Status: Image is up to date for ")
        newer = RemoteImage([FIRST, SECOND])
        server.answers.update(newer.answers())
        server.seen.clear()
        await here.pull(f"{server.host}/a/b:1")
        assert here.messages[-1]["status"].startswith("Status: Downloaded newer image")
        assert here.statuses(newer.layer_digests[0])[-1] == "Already exists"
        assert not [path for _, path, _ in server.seen if image.layer_digests[0] in path]
        assert here.images.image_of(reference.parse(f"{server.host}/a/b:1")) == newer.id

    pulled(tmp_path, image.answers(), then=again)


def test_a_digest_is_pulled_without_a_tag(tmp_path):
    image = RemoteImage([FIRST])
    server, here = pulled(tmp_path, image.answers(), name=f"a/b@{image.digest}")
    assert here.images.names_of(image.id) == []
    assert [name.short for name in here.images.digests_of(image.id)] == [f"{server.host}/a/b@{image.digest}"]


def test_all_tags_are_pulled(tmp_path):
    first, second = RemoteImage([FIRST]), RemoteImage([FIRST, SECOND])

    async def tags(request):
        return web.json_response({"tags": ["1", "2"]})

    server, here = pulled(tmp_path, {**first.answers("1"), **second.answers("2"), "tags/list": tags}, name="a/b")
    names = sorted(name.short for image in here.images.all() for name in here.images.names_of(image.id))
    assert names == [f"{server.host}/a/b:1", f"{server.host}/a/b:2"]
    assert here.messages[-1]["status"] == f"Status: Downloaded newer image for {server.host}/a/b"


def test_the_manifest_of_the_right_platform_is_chosen_from_an_index(tmp_path):
    own, other = RemoteImage([FIRST]), RemoteImage([SECOND], architecture="s390x")
    attestation = {**other.entry(), "platform": {"os": "unknown", "architecture": "unknown"}}
    top = index(attestation, other.entry(), own.entry())
    answers = {**other.answers(), **own.answers(), "manifests/1": document(top)}
    _, here = pulled(tmp_path, answers)
    assert [image.id for image in here.images.all()] == [own.id]
    wanted = platforms.parse("linux/s390x", compatibility.host())
    _, here = pulled(tmp_path / "..", answers, platform=wanted)
    assert other.id in [image.id for image in here.images.all()]


def test_a_platform_that_an_index_has_not_is_refused_with_those_that_it_has(tmp_path):
    other = RemoteImage([FIRST], architecture="s390x")
    answers = {**other.answers(), "manifests/1": document(index(other.entry()))}
    failed(tmp_path, answers, NotFound, r"no matching manifest for linux/\w+ in the manifest list entries.*linux/s390x")


def test_images_for_other_systems_and_machines_are_refused_with_the_reason(tmp_path):
    failed(tmp_path, RemoteImage([FIRST], os="windows").answers(), BadRequest, "need a Windows host")
    failed(tmp_path, RemoteImage([FIRST], architecture="s390x").answers(), BadRequest, "is for linux/s390x")


def test_indexes_within_indexes_end(tmp_path):
    first = index()
    answers = {}
    for _ in range(5):
        answers[f"manifests/{digest_of(first)}"] = document(first)
        first = index({"mediaType": json.loads(first)["mediaType"], "digest": digest_of(first), "size": len(first)})
    failed(tmp_path, answers | {"manifests/1": document(first)}, BadRequest, "indexes within indexes")


def test_a_layer_with_another_archive_than_its_image_names_is_refused(tmp_path):
    image = RemoteImage([FIRST], diff_ids=["sha256:" + "0" * 64])
    _, here = failed(tmp_path, image.answers(), BadArchive, "but the image names sha256:0000")
    assert here.leftovers() == ["blob"]


def test_a_layer_with_another_digest_is_refused(tmp_path):
    image = RemoteImage([FIRST, SECOND])
    bad = image.blobs[image.layer_digests[1]]
    wrong = {f"blobs/{image.layer_digests[1]}": blob(bad[:-1] + bytes([bad[-1] ^ 1]))}

    async def run():
        async with lying() as server, client() as registry, shop(tmp_path, registry) as here:
            server.answers.update(image.answers() | wrong)
            with pytest.raises(WrongContent, match=f"verification failed for digest {image.layer_digests[1]}"):
                await here.pull(f"{server.host}/a/b:1")
            assert here.images.all() == []
            server.answers.update(image.answers())
            await here.pull(f"{server.host}/a/b:1")
            assert len(here.images.all()) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda image: image["layers"].pop(), BadRequest, "layers from manifest don't match image configuration"),
        (lambda image: image["config"].update(size=3), WrongContent, "of 3 bytes arrived as"),
        (lambda image: image["config"].update(size=1 << 40), WrongContent, "at most 4194304 are read"),
        (lambda image: image["config"].update(size=-1), BadRequest, "the manifest is invalid"),
        (lambda image: image["config"].update(digest="sha256:../../etc/passwd"), BadRequest, "not a SHA-256 digest"),
        (
            lambda image: image["config"].update(mediaType="application/x.helm"),
            BadRequest,
            r"\(unknown\) when fetching",
        ),
        (lambda image: image.update(layers=image["layers"] * 200), BadRequest, "max depth exceeded"),
        (lambda image: image.update(schemaVersion=1), BadRequest, "has schema 1"),
        (lambda image: image.update(manifests=[]), BadRequest, "ambiguous"),
        (lambda image: image.clear(), BadRequest, "unsupported manifest media type"),
    ],
)
def test_a_manifest_that_lies_is_refused(tmp_path, change, kind, words):
    image = RemoteImage([FIRST, SECOND])
    manifest = json.loads(image.manifest)
    change(manifest)
    data = json.dumps(manifest).encode()
    failed(tmp_path, {**image.answers(), "manifests/1": document(data, "text/plain")}, kind, words)


def test_a_layer_compressed_by_zstd_is_unpacked_and_remembered_as_such(tmp_path):
    image = RemoteImage([FIRST])
    packed = zstd.compress(FIRST)
    manifest = json.loads(image.manifest)
    manifest["layers"] = [{"mediaType": f"{OCI_LAYER}+zstd", "size": len(packed), "digest": digest_of(packed)}]
    data = json.dumps(manifest).encode()
    answers = {**image.answers(), "manifests/1": document(data), f"blobs/{digest_of(packed)}": blob(packed)}
    _, here = pulled(tmp_path, answers)
    (found,) = here.images.all()
    assert b"".join(here.layers.archive(found.layers[0], found.document.rootfs.diff_ids[0])) == FIRST
    assert [source.media_type for source in here.images.sources.of(found.layers[0])] == [f"{OCI_LAYER}+zstd"]


def test_a_layer_without_a_single_byte_is_a_layer(tmp_path):
    image = RemoteImage([FIRST, b""])
    _, here = pulled(tmp_path, image.answers())
    (found,) = here.images.all()
    assert b"".join(here.layers.archive(found.layers[1], found.document.rootfs.diff_ids[1])) == b""


def test_a_layer_that_occurs_twice_is_downloaded_once(tmp_path):
    image = RemoteImage([FIRST, SECOND, FIRST])
    server, here = pulled(tmp_path, image.answers())
    assert len(here.images.all()[0].layers) == 3
    assert len(server.requests(f"blobs/{image.layer_digests[0]}")) == 1


def test_two_pulls_at_once_download_each_layer_once(tmp_path):
    image = RemoteImage([FIRST, SECOND])

    async def run():
        async with lying() as server, client() as registry, shop(tmp_path, registry) as here:
            server.answers.update(image.answers())
            await asyncio.gather(*(here.pull(f"{server.host}/a/b:1") for _ in range(3)))
            assert [len(server.requests(f"blobs/{digest}")) for digest in image.layer_digests] == [1, 1]
            assert len(here.images.all()) == 1 and here.files() == {"a", "b", "both"}

    asyncio.run(run())


def test_three_layers_are_downloaded_at_the_same_time(tmp_path):
    image = RemoteImage([layer(**{f"f{number}": bytes([number])}) for number in range(6)])
    running = most = 0
    three = asyncio.Event()

    def held(answer):
        async def wait(request):
            nonlocal running, most
            running, most = running + 1, max(most, running + 1)
            if running == 3:
                three.set()
            await three.wait()
            await asyncio.sleep(0.01)
            running -= 1
            return await answer(request)

        return wait

    answers = image.answers()
    answers |= {f"blobs/{digest}": held(answers[f"blobs/{digest}"]) for digest in image.layer_digests}
    _, here = pulled(tmp_path, answers)
    assert most == blob_files.DOWNLOADS == 3
    assert sum("Waiting" in here.statuses(digest) for digest in image.layer_digests) == 3


def test_a_cancelled_pull_leaves_no_image_and_the_next_one_continues(tmp_path):
    image = RemoteImage([layer(big=bytes(range(256)) * 2000 + b"x" * 100_000)])
    digest = image.layer_digests[0]
    data = image.blobs[digest]

    async def stopping(request):
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        await asyncio.sleep(60)

    async def run():
        async with lying() as server, client() as registry, shop(tmp_path, registry) as here:
            server.answers.update(image.answers() | {f"blobs/{digest}": stopping})
            report = Report()
            task = asyncio.create_task(here.pull(f"{server.host}/a/b:1", report=report))
            messages = []
            while not any(message["status"] == "Downloading" for message in messages):
                messages = await report.next()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert here.images.all() == [] and here.files() == set() and here.leftovers() == ["blob"]
            server.answers.update(image.answers())
            await here.pull(f"{server.host}/a/b:1")
            asked = server.requests(f"blobs/{digest}")
            assert asked[1]["Range"].startswith("bytes=") and asked[1]["Range"] != "bytes=0-"

    asyncio.run(run())


def test_a_full_disk_is_not_kept_full_by_the_downloads(tmp_path):
    image = RemoteImage([layer(big=os.urandom(3 << 20))])
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)

    async def run():
        async with lying() as server, client() as registry, shop(folder, registry) as here:
            server.answers.update(image.answers())
            with pytest.raises(OSError, match="No space left"):
                await here.pull(f"{server.host}/a/b:1")
        assert here.leftovers() == [] and here.images.all() == []

    try:
        asyncio.run(run())
    finally:
        subprocess.run(["umount", folder], check=True)


def test_an_interrupted_download_is_announced_and_continued(tmp_path):
    image = RemoteImage([layer(big=bytes(range(256)) * 2000)])
    digest = image.layer_digests[0]
    data = image.blobs[digest]

    async def cut_once(request):
        if "Range" in request.headers:
            return await blob(data)(request)
        return await cut(request, data[:1000], len(data))

    _, here = pulled(tmp_path, image.answers() | {f"blobs/{digest}": cut_once})
    assert "Retrying in 1 second" in here.statuses(digest)


def test_errors_of_the_registry_get_dockers_words_and_status(tmp_path):
    async def denied(request):
        header = 'Bearer realm="http://127.0.0.1:1/",error="insufficient_scope"'
        return web.Response(status=403, headers={"WWW-Authenticate": header})

    async def unknown(request):
        return web.json_response({"errors": [{"code": "NAME_UNKNOWN", "message": "not known"}]}, status=404)

    error, _ = failed(tmp_path, {"manifests/1": denied}, RegistryError, "^pull access denied for 127.0.0.1:")
    denial = "denied: requested access to the resource is denied"
    assert error.status == 404
    assert error.message.endswith(f"/a/b, repository does not exist or may require 'docker login': {denial}")
    error, _ = failed(tmp_path, {"manifests/1": unknown}, RegistryError, "not found: name unknown: not known$")
    assert error.status == 404


def test_an_image_of_docker_hub_comes_from_a_mirror(tmp_path):
    image = RemoteImage([FIRST])

    async def run():
        async with lying() as empty, lying() as mirror:
            mirrors = [f"http://{server.host}" for server in (empty, mirror)]
            async with client((), mirrors) as registry, shop(tmp_path, registry) as here:
                paths = {f"/v2/library/nginx/{path}": answer for path, answer in image.answers("latest").items()}
                mirror.answers.update(paths)
                await here.pull("nginx:latest")
                assert [name.short for name in here.images.names_of(image.id)] == ["nginx:latest"]
                assert [path for _, path, _ in empty.seen][-1] == "/v2/library/nginx/manifests/latest"

    asyncio.run(run())
