"""``image import``: creates an image of one layer from an archive of a root file system."""

from __future__ import annotations

import asyncio
import errno
import platform
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from netd.common.errors import NoSpace
from netd.common.ids import now
from runtime.images import changes
from runtime.images.image_config import History, ImageDocument, ImageRecord, RootFS
from runtime.images.image_store import Images
from runtime.images.layers import Layer, Layers
from runtime.images.reference import Reference
from runtime.storage.deferred_delete import DeferredDelete

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def architecture() -> str:
    """Return the architecture of this machine as image configurations name it (GOARCH)."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


class Importer:
    def __init__(self, images: Images, layers: Layers, deferred_delete: DeferredDelete) -> None:
        self._images = images
        self._layers = layers
        self._deferred_delete = deferred_delete

    async def run(
        self, archive: AsyncIterator[bytes], name: Reference | None, applied: Sequence[str], comment: str = ""
    ) -> ImageRecord:
        """Write *archive* to disk, unpack it, and record the image.

        Raises BadRequest or NoSpace after removing everything.
        """
        config = changes.apply(applied)
        spool = self._deferred_delete.scratch_path("import")
        try:
            await _spool(archive, spool)
            layer = await asyncio.to_thread(self._unpack, spool)
        finally:
            await self._deferred_delete.delete(spool)
        moment = now()
        document = ImageDocument(
            architecture=architecture(),
            os="linux",
            created=moment,
            comment=comment,
            config=config,
            rootfs=RootFS(diff_ids=[layer.diff]),
            history=[History(created=moment, comment=comment or "Imported from -")],
        )
        try:
            return await self._images.add(document, layer, name)
        finally:
            # The files exist only if the layer was not published.
            self._layers.discard(layer)

    def _unpack(self, spool: Path) -> Layer:
        with spool.open("rb") as archive:
            # Docker ignores the entry of the root itself, which often is a private temporary folder.
            return self._layers.unpack(archive, private_root=False)


async def _spool(archive: AsyncIterator[bytes], path: Path) -> None:
    try:
        with await asyncio.to_thread(path.open, "xb") as file:
            async for chunk in archive:
                await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"the disk of {path.parent} is full: free some space and try again") from error
        raise
