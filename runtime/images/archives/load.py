"""``POST /images/load``: adds the images of an archive, with their names.

Layers that are on disk already are not unpacked again.  An image is recorded after all its layers were verified, so a
failure leaves the images before it, and no part of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import BinaryIO

from netd.common.errors import BadRequest
from runtime.images import compatibility, interruptible
from runtime.images.archives import documents
from runtime.images.archives.archive_file import ArchiveFile, Member
from runtime.images.archives.documents import ArchivedImage, ArchivedLayer
from runtime.images.archives.spool import Spool
from runtime.images.image_config import ImageDocument, ImageRecord, chain_ids, parse_document
from runtime.images.image_store import Images
from runtime.images.interruptible import WatchedFile
from runtime.images.layer_leases import Lease
from runtime.images.layers import Layer, Layers
from runtime.images.tarstream import BadArchive, NotAnArchive
from runtime.manifests import LARGEST_DOCUMENT
from runtime.platforms import Platform
from runtime.progress import Report
from runtime.storage.deferred_delete import DeferredDelete


class Loader:
    def __init__(self, images: Images, layers: Layers, deferred_delete: DeferredDelete) -> None:
        self._images = images
        self._layers = layers
        self._deferred_delete = deferred_delete

    async def run(
        self, body: AsyncIterator[bytes], report: Report, *, platform: str = "", quiet: bool = True
    ) -> list[ImageRecord]:
        """Add all images of the archive *body*, and report Docker's messages; unless *quiet*, also about layers.

        Raises a Problem with the reason.
        """
        wanted = compatibility.requested(platform)
        async with Spool(self._deferred_delete, "load") as spool:
            await spool.write(body)
            with await asyncio.to_thread(spool.open_plain) as file:
                archive, found = await asyncio.to_thread(_images, file, wanted)
                return [await self._load(archive, image, report, wanted, quiet) for image in found]

    async def _load(
        self,
        archive: ArchiveFile,
        image: ArchivedImage,
        report: Report,
        wanted: Platform | None,
        quiet: bool,
    ) -> ImageRecord:
        document = parse_document(image.config)
        _check(document, image, wanted)
        with self._images.lease() as lease:
            expected = [""] * len(image.layers) if image.without_diffs else document.rootfs.diff_ids
            diffs = await self._layers_of(archive, image, expected, lease, None if quiet else report)
            config = documents.with_diffs(image.config, diffs) if image.without_diffs else image.config
            former = {name.full: self._images.image_of(name) for name in image.names}
            record = await self._images.add_image(config, image.names)
        for name in image.names:
            old = former[name.full]
            if old not in (None, record.id):
                lost = f"The image {name.short} already exists, renaming the old one with ID {old} to empty string\n"
                report.message({"stream": lost})
            report.message({"stream": f"Loaded image: {name.short}\n"})
        if not image.names:
            report.message({"stream": f"Loaded image ID: {record.id}\n"})
        return record

    async def _layers_of(
        self, archive: ArchiveFile, image: ArchivedImage, expected: Sequence[str], lease: Lease, report: Report | None
    ) -> list[str]:
        """Make all layers exist; return their diff ids."""
        diffs: list[str] = []
        for archived, diff in zip(image.layers, expected, strict=True):
            if not diff or not self._images.hold(lease, chain_ids([*diffs, diff])[-1]):
                layer = await self._unpack(archive, archived, diffs, diff, report)
                await self._images.publish(layer, lease)
                diff = layer.diff  # noqa: PLW2901
            diffs.append(diff)
        return diffs

    async def _unpack(
        self, archive: ArchiveFile, archived: ArchivedLayer, below: list[str], diff: str, report: Report | None
    ) -> Layer:
        member = archive.open(archived.member)
        shown = (diff or archived.digest or archived.member).removeprefix("sha256:")[:12]

        loop = asyncio.get_running_loop()

        def watch(current: int) -> None:
            if report is not None:
                loop.call_soon_threadsafe(report.moved, "Loading layer", shown, current, member.size)

        watched = WatchedFile(_Hashed(member, archived.digest if archived.digest != diff else ""), watch)

        def work() -> Layer:
            layer = self._layers.unpack(watched, below, expected=diff)
            try:
                while watched.read(1 << 18):
                    pass
            except BaseException:
                self._layers.discard(layer)
                raise
            return layer

        return await interruptible.run(work, watched.interrupt, self._layers.discard)


class _Hashed:
    """A member whose digest is checked when its end is read."""

    def __init__(self, member: Member, digest: str) -> None:
        self._member = member
        self._digest = digest
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._member.read(size)
        if self._digest:
            self._hash.update(data)
            if not data and f"sha256:{self._hash.hexdigest()}" != self._digest:
                raise BadArchive(
                    f"the archive is damaged: its layer {self._digest} has the digest sha256:{self._hash.hexdigest()}"
                )
        return data


def _images(file: BinaryIO, wanted: Platform | None) -> tuple[ArchiveFile, list[ArchivedImage]]:
    try:
        archive = ArchiveFile(file)
    except NotAnArchive as problem:
        raise NotAnArchive(problem.found, "load an archive that was written by save") from None

    def read(name: str) -> bytes:
        return archive.document(name, LARGEST_DOCUMENT)

    if "manifest.json" in archive:
        found = documents.from_manifest(read("manifest.json"), read)
    elif "index.json" in archive:
        found = documents.from_index(read("index.json"), read, wanted or compatibility.host())
    elif "repositories" in archive:
        found = documents.from_repositories(read("repositories"), read)
    else:
        raise BadRequest(
            "the archive holds no images: it has neither manifest.json nor index.json nor repositories; an archive of a"
            " root file system is added by import"
        )
    return archive, found


def _check(document: ImageDocument, image: ArchivedImage, wanted: Platform | None) -> None:
    name = image.names[0].short if image.names else "without a name"
    host = compatibility.host()
    found = Platform(document.os or "linux", document.architecture or host.architecture, document.variant)
    compatibility.check(found, name, wanted)
    count = len(document.rootfs.diff_ids)
    if count != len(image.layers) and not image.without_diffs:
        raise BadArchive(f"invalid manifest, layers length mismatch: expected {count}, got {len(image.layers)}")
