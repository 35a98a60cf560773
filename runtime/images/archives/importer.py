"""``image import``: an image of one layer from an archive of a root file system, unpacked while it is received."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from netd.common.errors import BadRequest
from netd.common.ids import now
from netd.common.tasks import start_awaited
from runtime.build.plan import change_instructions
from runtime.images import compatibility, interruptible
from runtime.images.byte_pipe import BytePipe
from runtime.images.image_config import History, ImageDocument, ImageRecord, RootFS
from runtime.images.image_store import Images
from runtime.images.layers import Layer, Layers
from runtime.images.reference import Reference
from runtime.images.tarstream import NotAnArchive
from runtime.kernel import openat
from runtime.platforms import Platform

_LARGEST_MANIFEST = 4 << 20


class Importer:
    def __init__(self, images: Images, layers: Layers) -> None:
        self._images = images
        self._layers = layers

    async def run(
        self,
        archive: AsyncIterator[bytes],
        name: Reference | None,
        applied: Sequence[str],
        comment: str = "",
        platform: Platform | None = None,
    ) -> ImageRecord:
        """Unpack *archive*, and record the image, for this machine unless *platform* is given.

        Raises BadRequest or NoSpace after removing everything.
        """
        config = change_instructions.apply(applied)
        platform = platform or compatibility.host()
        if platform.os != "linux":
            compatibility.check(platform, name.short if name else "", platform)
        layer = await self._unpack(archive)
        moment = now()
        document = ImageDocument(
            architecture=platform.architecture,
            os=platform.os,
            variant=platform.variant,
            created=moment,
            comment=comment or "Imported from -",
            config=config,
            rootfs=RootFS(diff_ids=[layer.diff]),
            history=[History(created=moment, comment=comment or "Imported from -")],
        )
        try:
            return await self._images.add(document, layer, name)
        finally:
            await asyncio.to_thread(self._layers.discard, layer)

    async def _unpack(self, archive: AsyncIterator[bytes]) -> Layer:
        pipe = BytePipe()
        unpacked = start_awaited(interruptible.run(lambda: self._read(pipe), lambda: None, self._layers.discard))
        # Also if the work never began, for lack of a thread.
        unpacked.add_done_callback(lambda _: pipe.abandon())
        try:
            await pipe.feed(archive)
        except BaseException:
            while not unpacked.done():
                with suppress(BaseException):
                    await asyncio.shield(unpacked)
            if not unpacked.cancelled() and unpacked.exception() is None:
                await asyncio.to_thread(self._layers.discard, unpacked.result())
            raise
        return await unpacked

    def _read(self, pipe: BytePipe) -> Layer:
        try:
            # Docker ignores the entry of the root itself, which often is a private temporary folder.
            layer = self._layers.unpack(pipe, private_root=False)
        except NotAnArchive as problem:
            raise NotAnArchive(problem.found, "import an archive of a root file system") from None
        finally:
            pipe.close()
        if _is_of_images(layer):
            self._layers.discard(layer)
            raise BadRequest(
                "the archive holds images, as written by save, and not a root file system: add its images with load"
                " (netctl load -i FILE)"
            )
        return layer


def _is_of_images(layer: Layer) -> bool:
    root = openat.open_tree_root(layer.folder)
    try:
        if openat.lstat(root, "oci-layout") and openat.lstat(root, "index.json"):
            return True
        handle = openat.open_file(root, "manifest.json")
        try:
            entries = msgspec.json.decode(openat.read(handle, _LARGEST_MANIFEST))
        finally:
            os.close(handle)
        return isinstance(entries, list) and any(
            isinstance(entry, dict) and {"Config", "Layers"} <= entry.keys() for entry in entries
        )
    except (OSError, msgspec.DecodeError, RecursionError):
        return False
    finally:
        os.close(root)
