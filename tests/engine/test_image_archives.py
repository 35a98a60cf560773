"""Archives of images: load of every form, save, and what is refused."""

import asyncio
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import time

import pytest
from backports import zstd

from netd.common.errors import BadRequest, NotFound, Problem
from netd.common.store.store import Store
from netd.common.tasks import Tasks
from runtime.images import compatibility
from runtime.images.archives.importer import Importer
from runtime.images.archives.load import Loader
from runtime.images.archives.save import Saver
from runtime.images.image_store import Images
from runtime.images.interruptible import Interrupted
from runtime.progress import Report
from tests.engine.test_layers import Archive, Place

BASE = Archive().directory("etc").add("etc/name", data=b"base" * 5000).bytes()
TOP = Archive().add("etc/.wh.name").add("etc/other", data=b"top").bytes()
HOST = compatibility.host()
OTHER = "s390x"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def packed(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def config(layers: list[bytes], **fields) -> bytes:
    document = {"architecture": HOST.architecture, "os": "linux", "config": {"Cmd": ["true"]}, **fields}
    return json.dumps(
        {**document, "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]}}
    ).encode()


def docker_archive(layers: list[bytes], *tags: str, **fields) -> dict[str, bytes]:
    text = config(layers, **fields)
    members = {f"{digest(text)[7:]}.json": text}
    paths = []
    for position, data in enumerate(layers):
        paths.append(f"{position:064x}/layer.tar")
        members[paths[-1]] = data
    entry = {"Config": f"{digest(text)[7:]}.json", "RepoTags": list(tags) or None, "Layers": paths}
    members["manifest.json"] = json.dumps([entry]).encode()
    return members


class Layout:
    """An OCI layout."""

    def __init__(self) -> None:
        self.members = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.manifests: list[dict] = []

    def blob(self, data: bytes, media_type: str) -> dict:
        self.members[f"blobs/sha256/{digest(data)[7:]}"] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def image(self, layers: list[bytes], compress=lambda data: data, **fields) -> dict:
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(config(layers, **fields), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(compress(data), "application/vnd.oci.image.layer.v1.tar+gzip") for data in layers],
        }
        return self.blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")

    def index(self, manifests: list[dict]) -> dict:
        data = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
        return self.blob(data, "application/vnd.oci.image.index.v1+json")

    def add(self, descriptor: dict, name: str = "") -> "Layout":
        notes = {"annotations": {"io.containerd.image.name": name}} if name else {}
        self.manifests.append({**descriptor, **notes})
        return self

    def bytes(self) -> bytes:
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return packed({**self.members, "index.json": json.dumps(index).encode()})


class Host:
    """Images without a daemon; each method runs an event loop of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def run(self, body):
        async def whole():
            tasks = Tasks()
            store = Store(self.place.root / "state/runtime.db")
            try:
                self.images = Images(store, self.place.layers, tasks)
                self.images.load()
                return await body()
            finally:
                await self.place.trash.wait()
                await tasks.close()
                store.close()

        return asyncio.run(whole())

    def load(self, data: bytes, platform: str = "", *, quiet: bool = True):
        async def body():
            loader = Loader(self.images, self.place.layers, self.place.trash)
            return await loader.run(chunks(data), self.report, platform=platform, quiet=quiet)

        self.report = Report()
        return self.run(body)

    def save(self, *names: str, platform=None) -> bytes:
        async def body():
            saver = Saver(self.images, self.place.layers)
            return b"".join(saver.write(saver.prepare(saver.select(names, platform))))

        return self.run(body)

    def import_(self, data: bytes, **options):
        async def body():
            return await Importer(self.images, self.place.layers).run(chunks(data), None, (), **options)

        return self.run(body)

    @property
    def messages(self) -> list[dict]:
        return list(self.report._waiting.values())

    @property
    def said(self) -> list[str]:
        return [message["stream"] for message in self.messages if "stream" in message]


async def chunks(data: bytes):
    for start in range(0, len(data), 100_000):
        await asyncio.sleep(0)
        yield data[start : start + 100_000]


@pytest.fixture
def host(tmp_path):
    return Host(Place(tmp_path))


def assert_nothing_is_left(host: Host) -> None:
    assert host.run(lambda: asyncio.sleep(0, host.images.all())) == []
    assert not any(host.place.paths.scratch.iterdir())


COMPRESSIONS = {
    "uncompressed": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "zstd after a skippable frame": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd.compress(data),
    "xz": lzma.compress,
}


@pytest.mark.parametrize("form", COMPRESSIONS)
def test_a_docker_archive_is_loaded_in_every_compression(host, form):
    data = COMPRESSIONS[form](packed(docker_archive([BASE, TOP], "app:1", "host:5000/app:2")))
    [image] = host.load(data)
    assert image.id == digest(config([BASE, TOP])) and len(image.layers) == 2
    assert host.said == ["Loaded image: app:1\n", "Loaded image: host:5000/app:2\n"]
    top = host.place.paths.layer(image.layers[1])
    assert (top / "etc/other").read_bytes() == b"top" and (top / "etc/name").is_char_device()
    assert not any(host.place.paths.scratch.iterdir())


@pytest.mark.parametrize("form", COMPRESSIONS)
def test_an_oci_layout_is_loaded_with_layers_in_every_compression(host, form):
    layout = Layout()
    layout.add(layout.image([BASE, TOP], COMPRESSIONS[form]), "docker.io/library/app:1")
    [image] = host.load(layout.bytes())
    assert image.id == digest(config([BASE, TOP])) and host.said == ["Loaded image: app:1\n"]


def test_the_archive_of_docker_before_1_10_is_loaded(host):
    below, above = "a" * 64, "b" * 64
    members = {
        f"{below}/json": json.dumps({"id": below, "os": "linux", "author": "me"}).encode(),
        f"{below}/layer.tar": BASE,
        f"{above}/json": json.dumps(
            {"id": above, "parent": below, "architecture": HOST.architecture, "os": "linux", "config": {"User": "u"},
             "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) USER u"]}}
        ).encode(),
        "repositories": json.dumps({"old/app": {"v1": above}}).encode(),
    }  # fmt: skip
    [image] = host.load(packed(members, {f"{above}/layer.tar": f"../{below}/layer.tar"}))
    assert host.said == ["Loaded image: old/app:v1\n"]
    document = image.document
    assert document.rootfs.diff_ids == [digest(BASE)] * 2 and document.config.user == "u"
    assert [(entry.author, entry.created_by) for entry in document.history] == [
        ("me", ""),
        ("", "/bin/sh -c #(nop) USER u"),
    ]


def test_images_that_are_there_are_not_unpacked_again(host, monkeypatch):
    data = packed(docker_archive([BASE, TOP], "app:1"))
    [first] = host.load(data)
    monkeypatch.setattr(host.place.layers, "unpack", None)
    [second] = host.load(data)
    assert first.id == second.id and host.said == ["Loaded image: app:1\n"]


def test_an_image_that_loses_its_name_is_named(host):
    [first] = host.load(packed(docker_archive([BASE], "app:1")))
    host.load(packed(docker_archive([TOP], "app:1")))
    assert host.said[0] == f"The image app:1 already exists, renaming the old one with ID {first.id} to empty string\n"


def test_an_image_without_a_name_is_loaded_by_its_id(host):
    [image] = host.load(packed(docker_archive([BASE])))
    assert host.said == [f"Loaded image ID: {image.id}\n"]


def test_progress_is_reported_by_layer(host):
    host.load(packed(docker_archive([BASE, TOP], "app:1")), quiet=False)
    seen = [message for message in host.messages if message.get("status") == "Loading layer"]
    assert {message["id"] for message in seen} == {digest(BASE)[7:19], digest(TOP)[7:19]}
    assert seen[0]["progressDetail"]["total"] == len(BASE)


def multi_platform() -> bytes:
    layout = Layout()
    images = [
        {**layout.image([BASE]), "platform": {"os": "linux", "architecture": HOST.architecture}},
        {**layout.image([TOP], architecture=OTHER), "platform": {"os": "linux", "architecture": OTHER}},
        {**layout.image([TOP], os="windows"), "platform": {"os": "windows", "architecture": HOST.architecture}},
        {
            **layout.blob(b"{}", "application/vnd.oci.image.manifest.v1+json"),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        },
    ]
    return layout.add(layout.index(images), "docker.io/x/app:1").bytes()


def test_the_right_platform_of_an_index_is_chosen(host):
    [image] = host.load(multi_platform())
    assert image.document.architecture == HOST.architecture
    [image] = host.load(multi_platform(), f"linux/{OTHER}")
    assert image.document.architecture == OTHER
    with pytest.raises(NotFound, match=f"no matching manifest for linux/riscv64.*linux/{OTHER}"):
        host.load(multi_platform(), "linux/riscv64")


@pytest.mark.parametrize(
    ("fields", "platform", "why"),
    [
        ({"os": "windows"}, "", "Windows containers need a Windows host"),
        ({"architecture": OTHER}, "", f"is for linux/{OTHER}, and this machine runs {HOST}"),
        ({}, f"linux/{OTHER}", "does not match the specified platform"),
    ],
)
def test_other_platforms_are_refused_with_the_reason(host, fields, platform, why):
    with pytest.raises(Problem, match=why):
        host.load(packed(docker_archive([BASE], "app:1", **fields)), platform)
    assert_nothing_is_left(host)


def damaged_blob() -> bytes:
    layout = Layout()
    layout.add(layout.image([BASE], lambda data: gzip.compress(data, 9, mtime=0)), "docker.io/x/app:1")
    layout.members[f"blobs/sha256/{digest(gzip.compress(BASE, 9, mtime=0))[7:]}"] = gzip.compress(BASE, 0)
    return layout.bytes()


def manifest_with(change) -> bytes:
    members = docker_archive([BASE, TOP], "app:1")
    entries = json.loads(members["manifest.json"])
    change(entries, members)
    return packed({**members, "manifest.json": json.dumps(entries).encode()})


BAD = {
    "wrong layer": (
        manifest_with(lambda _, members: members.update({f"{1:064x}/layer.tar": BASE})),
        "but the image names",
    ),
    "damaged blob": (damaged_blob(), "is damaged: its layer"),
    "missing layer": (
        manifest_with(lambda entries, _: entries[0]["Layers"].__setitem__(1, "../../etc/passwd")),
        "has no",
    ),
    "too few layers": (manifest_with(lambda entries, _: entries[0]["Layers"].pop()), "layers length mismatch"),
    "bad name": (manifest_with(lambda entries, _: entries[0].update(RepoTags=["App"])), "must be lowercase"),
    "name without a tag": (manifest_with(lambda entries, _: entries[0].update(RepoTags=["app"])), "invalid tag"),
    "text": (
        b"# Notes\n" * 1000,
        r"the data is text that begins with '# Notes', not a tar archive: load an archive that was written by save,"
        r" plain or compressed with gzip, bzip2, xz or zstd\Z",
    ),
    "short text": (b"hi \xe2\x82\xac", "text that begins with 'hi €', not a tar archive"),
    "compressed text": (gzip.compress(b"plain text" * 1000), "text that begins with 'plain text"),
    "zip": (b"PK\x03\x04" + bytes(2000), "a zip archive, not a tar archive"),
    "package": (b"!<arch>\ndebian-binary", "an ar archive, such as a Debian package, not a tar archive"),
    "noise": (bytes(range(256)) * 4, "of an unknown kind, not a tar archive"),
    "no images": (BASE, "added by import"),
    "empty": (b"", "the archive is empty"),
    "cut short": (packed(docker_archive([BASE, TOP], "app:1"))[:9000], "cut short"),
    "cut short in gzip": (gzip.compress(packed(docker_archive([BASE], "app:1")))[:-200], "cut short"),
    "bad zstd": (zstd.compress(BASE)[:40] + b"\xff" * 60, "compression is broken|cut short"),
    "bad documents": (packed({"manifest.json": b"{"}), "manifest.json of the archive is invalid"),
    "config that is no file": (manifest_with(lambda entries, _: entries[0].update(Config="etc")), "has no"),
    "endless links": (packed({"manifest.json": b'[{"Config":"a"}]'}, {"a": "b", "b": "a"}), "has no"),
    "huge config": (packed({"manifest.json": b'[{"Config":"a"}]', "a": bytes(5 << 20)}), "larger than"),
}


@pytest.mark.parametrize("name", BAD)
def test_archives_that_are_wrong_never_become_images(host, name):
    data, why = BAD[name]
    with pytest.raises(BadRequest, match=why):
        host.load(data)
    assert_nothing_is_left(host)


def test_a_saved_archive_is_what_docker_writes_and_is_loaded_again(host):
    [image] = host.load(packed(docker_archive([BASE, TOP], "app:1", "app:2", "other:1")))
    data = host.save("app", "other:1", image.id[7:20])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}
    for name, content in members.items():
        assert not name.startswith("blobs/") or name == f"blobs/sha256/{digest(content)[7:]}"
    [entry] = json.loads(members["manifest.json"])
    assert entry["RepoTags"] == ["app:1", "app:2", "other:1"]
    assert [members[path] for path in entry["Layers"]] == [BASE, TOP]
    names = [item["annotations"]["io.containerd.image.name"] for item in json.loads(members["index.json"])["manifests"]]
    assert names == ["docker.io/library/app:1", "docker.io/library/app:2", "docker.io/library/other:1"]
    for drop in ("", "manifest.json"):
        again = (
            Host(Place(host.place.root / f"again{drop}")) if not (host.place.root / f"again{drop}").mkdir() else None
        )
        [found] = again.load(packed({name: content for name, content in members.items() if name != drop}))
        assert found.id == image.id
    assert host.save("app:1") == host.save("app:1")


def test_saving_what_is_not_there_is_refused(host):
    host.load(packed(docker_archive([BASE], "app:1")))
    with pytest.raises(NotFound, match="No such image: app:2"):
        host.save("app:1", "app:2")
    with pytest.raises(NotFound, match="does not match the specified platform"):
        host.save("app:1", platform=compatibility.requested(f"linux/{OTHER}"))


def test_import_of_an_archive_of_images_says_what_to_use(host):
    layout = Layout()
    for data in (packed(docker_archive([BASE], "app:1")), layout.add(layout.image([BASE])).bytes()):
        with pytest.raises(BadRequest, match="add its images with load"):
            host.import_(data)
        assert_nothing_is_left(host)


def test_import_records_the_platform(host):
    image = host.import_(BASE, platform=compatibility.requested("linux/arm/v6"))
    assert (image.document.architecture, image.document.variant) == ("arm", "v6")
    with pytest.raises(BadRequest, match="Windows host"):
        host.import_(BASE, platform=compatibility.requested("windows/amd64"))


@pytest.mark.parametrize("at", ["import", "load"])
def test_a_client_that_disappears_leaves_nothing(host, at):
    async def broken():
        yield packed(docker_archive([os.urandom(1 << 20)], "app:1"))[:700_000]
        raise BadRequest("the request body cannot be read")

    async def body():
        if at == "import":
            await Importer(host.images, host.place.layers).run(broken(), None, ())
        else:
            await Loader(host.images, host.place.layers, host.place.trash).run(broken(), Report())

    with pytest.raises(BadRequest, match="cannot be read"):
        host.run(body)
    assert_nothing_is_left(host)


def test_an_import_that_is_cancelled_leaves_nothing(host):
    async def body():
        begun = asyncio.Event()

        async def endless():
            yield Archive().add("f", data=bytes(1 << 20)).bytes()[: 1 << 20]
            begun.set()
            await asyncio.sleep(60)

        task = asyncio.ensure_future(Importer(host.images, host.place.layers).run(endless(), None, ()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    start = time.monotonic()
    host.run(body)
    assert time.monotonic() - start < 10
    assert_nothing_is_left(host)


def test_a_load_that_is_cancelled_keeps_whole_layers_only(host, monkeypatch):
    async def body():
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        interrupted: list[list[str]] = []
        unpack = host.place.layers.unpack

        def watched(archive, below, **options):
            if below:
                loop.call_soon_threadsafe(begun.set)
                try:
                    while archive.read(10):
                        time.sleep(0.001)
                except Interrupted:
                    interrupted.append(below)
                    raise
            return unpack(archive, below, **options)

        monkeypatch.setattr(host.place.layers, "unpack", watched)
        loader = Loader(host.images, host.place.layers, host.place.trash)
        task = asyncio.ensure_future(loader.run(chunks(packed(docker_archive([BASE, BASE], "app:1"))), Report()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert interrupted == [[digest(BASE)]]
        assert [path.name for path in host.place.paths.layers.iterdir()] == [digest(BASE)[7:]]

    host.run(body)
    assert_nothing_is_left(host)
