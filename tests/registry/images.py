"""Images for tests: documents and blobs as a registry has them, and a store of images without a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from netd.common.store.store import Store
from netd.common.tasks import Tasks
from runtime import manifests
from runtime.distribution.blob_files import BlobFiles
from runtime.distribution.pull import Puller
from runtime.distribution.push import Pusher
from runtime.images import compatibility, reference
from runtime.images.image_store import Images
from runtime.images.layers import Layers
from runtime.paths import Paths
from runtime.progress import Report
from runtime.registry.auth_config import ANONYMOUS
from runtime.registry.registry_client import RegistryClient
from runtime.registry.repository import digest_of
from runtime.storage.deferred_delete import DeferredDelete


def layer(**files: bytes) -> bytes:
    """Return an uncompressed archive with these files; ``_`` in a name stands for ``/``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("_", "/"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class RemoteImage:
    """An image of *layers* (archives); ``blobs`` has everything by digest, ``manifest`` is the document."""

    layers: list[bytes]
    os: str = "linux"
    architecture: str = field(default_factory=lambda: compatibility.host().architecture)
    diff_ids: list[str] | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        packed = [gzip.compress(archive, 1, mtime=0) for archive in self.layers]
        diffs = self.diff_ids or [digest_of(archive) for archive in self.layers]
        config = json.dumps(
            {"architecture": self.architecture, "os": self.os, "config": {"Cmd": ["/bin/true"]},
             "rootfs": {"type": "layers", "diff_ids": diffs}}
        ).encode()  # fmt: skip
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": manifests.DOCKER_MANIFEST,
            "config": self._described(manifests.DOCKER_CONFIG, config),
            "layers": [self._described(manifests.DOCKER_LAYER, data) for data in packed],
        }).encode()  # fmt: skip
        self.digest = digest_of(self.manifest)
        self.id = digest_of(config)
        self.layer_digests = [digest_of(data) for data in packed]

    def entry(self) -> dict:
        """Return the image's entry in an index."""
        platform = {"os": self.os, "architecture": self.architecture}
        return {"mediaType": manifests.DOCKER_MANIFEST, "digest": self.digest, "size": len(self.manifest),
                "platform": platform}  # fmt: skip

    def answers(self, tag: str = "1") -> dict:
        """Return what a registry answers, by path below the repository."""
        documents = {f"manifests/{name}": document(self.manifest) for name in (tag, self.digest)}
        return documents | {f"blobs/{digest}": blob(data) for digest, data in self.blobs.items()}

    def _described(self, media_type: str, data: bytes) -> dict:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "size": len(data), "digest": digest_of(data)}


def index(*entries: dict) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": list(entries)}).encode()


def document(data: bytes, media_type: str = ""):
    media_type = media_type or json.loads(data).get("mediaType", "")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            body=data, headers={"Docker-Content-Digest": digest_of(data), "Content-Type": media_type}
        )  # fmt: skip

    return answer


def blob(data: bytes):
    async def answer(request: web.Request) -> web.Response:
        begin = int(request.headers.get("Range", "bytes=0-")[6:-1])
        if not begin:
            return web.Response(body=data)
        headers = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        return web.Response(body=data[begin:], status=206, headers=headers)

    return answer


@dataclass
class Shop:
    """A store of images in a folder, with pull and push."""

    images: Images
    layers: Layers
    puller: Puller
    pusher: Pusher
    paths: Paths
    messages: list[dict] = field(default_factory=list)

    async def pull(self, name: str, platform=None, report: Report | None = None) -> None:
        """Pull, and keep the messages."""
        report = report or Report()
        found = reference.parse(name)
        try:
            if found.tag or found.digest:
                await self.puller.pull(found, ANONYMOUS, platform, report)
            else:
                await self.puller.pull_all(found, ANONYMOUS, platform, report)
        finally:
            self.messages += report.take()

    async def push(self, name: str, credentials=ANONYMOUS) -> list[dict]:
        """Push, and return the messages."""
        report = Report()
        await self.pusher.push(reference.parse(name), credentials, report)
        return report.take()

    def statuses(self, identifier: str) -> list[str]:
        """Return the statuses of a layer, without numbers."""
        return list(dict.fromkeys(found["status"] for found in self.messages if found.get("id") == identifier[7:19]))

    def files(self) -> set[str]:
        """Return the names of the files in all layers."""
        return {str(path.relative_to(self.paths.layers)).partition("/")[2] for path in self.paths.layers.glob("*/*")}

    def leftovers(self) -> list[str]:
        return sorted(path.name.partition("-")[0] for path in self.paths.scratch.iterdir())


@contextlib.asynccontextmanager
async def shop(folder: Path, client: RegistryClient, name: str = "shop") -> AsyncIterator[Shop]:
    paths = Paths(folder / name, folder / f"{name}-run")
    for path in (paths.state, paths.run):
        path.mkdir(exist_ok=True)
    tasks = Tasks()
    store = Store(paths.database, copies=paths.run / "copies", in_use=lambda: False)
    deferred_delete = DeferredDelete(paths.scratch, tasks)
    deferred_delete.open()
    layers = Layers(paths, deferred_delete)
    images = Images(store, layers, tasks)
    images.load()
    files = BlobFiles(deferred_delete)
    try:
        yield Shop(images, layers, Puller(images, layers, files, client), Pusher(images, layers, client), paths)
    finally:
        await asyncio.sleep(0)  # A task that is cancelled before its first step is a coroutine that was never awaited.
        await deferred_delete.wait()
        await tasks.close()
        store.close()
