"""The records of images and tags.

The only owner of these records.  It keeps them in memory, writes every change to the store first, and deletes a layer's
folder only after no image uses it any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

import msgspec

from netd.common.errors import Conflict, NotFound
from netd.common.ids import now
from netd.common.store.store import Drop, Put, Store
from netd.common.tasks import Tasks
from runtime.images import reference
from runtime.images.image_config import ImageDocument, ImageRecord, TagRecord, chain_ids, image_id
from runtime.images.layers import Layer, Layers
from runtime.images.reference import Reference

_SHORTEST_ID = 4
_log = logging.getLogger(__name__)


class Images:
    def __init__(self, store: Store, layers: Layers, tasks: Tasks) -> None:
        self._store = store
        self._layers = layers
        self._tasks = tasks
        self._lock = asyncio.Lock()
        self._images: dict[str, ImageRecord] = {}
        self._tags: dict[str, str] = {}

    def load(self) -> None:
        """Load the records from the store."""
        self._images = self._store.load("image", ImageRecord)
        self._tags = {name: tag.image for name, tag in self._store.load("tag", TagRecord).items()}

    def sweep(self, used: Iterable[str]) -> None:
        """Delete the layers that no image uses, except those with a chain id in *used*."""
        self._layers.sweep([*used, *(chain for image in self._images.values() for chain in image.layers)])

    # Lookup

    def all(self) -> list[ImageRecord]:
        return list(self._images.values())

    def by_id(self, identifier: str) -> ImageRecord | None:
        return self._images.get(identifier)

    def names_of(self, identifier: str) -> list[Reference]:
        return [reference.parse(name) for name, image in self._tags.items() if image == identifier]

    def find(self, text: str) -> ImageRecord:
        """Return the image with a name, an id or a unique prefix of an id.  Raises NotFound with Docker's text."""
        prefix = reference.id_prefix(text)
        if prefix and (exact := self._images.get(f"sha256:{prefix}")):
            return exact
        named = reference.parse(text)
        if found := self._tags.get(named.full):
            return self._images[found]
        if prefix and len(prefix) >= _SHORTEST_ID:
            matching = [image for image in self._images if image.startswith(f"sha256:{prefix}")]
            if len(matching) == 1:
                return self._images[matching[0]]
            if matching:
                raise NotFound(f"{text} is a prefix of the ids of {len(matching)} images: use a longer prefix")
        raise NotFound(f"No such image: {text if prefix and text.startswith('sha256:') else named.short}")

    def names_tag(self, text: str) -> Reference | None:
        """Return *text* as a reference if it is a known name; None if it is an id or unknown."""
        prefix = reference.id_prefix(text)
        if prefix and f"sha256:{prefix}" in self._images:
            return None
        named = reference.parse(text)
        return named if named.full in self._tags else None

    # Changes

    async def add(self, document: ImageDocument, layer: Layer, name: Reference | None) -> ImageRecord:
        """Publish *layer*, record the image, and tag it with *name*."""
        async with self._lock:
            await asyncio.to_thread(self._layers.publish, layer)
            text = msgspec.json.encode(document).decode()
            image = ImageRecord(
                id=image_id(text), text=text, layers=chain_ids(document.rootfs.diff_ids), size=layer.size, tagged=now()
            )
            changes = [Put("image", image.id, image)]
            if name is not None:
                changes.append(Put("tag", name.full, TagRecord(image.id)))
            await self._store.write(*changes)
            self._images[image.id] = image
            if name is not None:
                self._tags[name.full] = image.id
            return image

    async def tag(self, image: ImageRecord, name: Reference) -> None:
        """Tag *image* with *name*; another image with that name loses it."""
        async with self._lock:
            if image.id not in self._images:
                raise NotFound(f"No such image: {image.id}")
            tagged = msgspec.structs.replace(self._images[image.id], tagged=now())
            await self._store.write(Put("tag", name.full, TagRecord(image.id)), Put("image", image.id, tagged))
            self._images[image.id] = tagged
            self._tags[name.full] = image.id

    async def untag(self, name: Reference) -> None:
        async with self._lock:
            await self._store.write(Drop("tag", name.full))
            self._tags.pop(name.full, None)

    async def delete(self, image: ImageRecord) -> list[Reference]:
        """Delete the image, its names, which are returned, and the layers that no other image uses."""
        async with self._lock:
            if image.id not in self._images:
                raise Conflict(f"image {image.id} is being removed already")
            names = self.names_of(image.id)
            await self._store.write(Drop("image", image.id), *(Drop("tag", name.full) for name in names))
            del self._images[image.id]
            for name in names:
                del self._tags[name.full]
            self._drop_layers(image.layers)
            return names

    def _drop_layers(self, chains: Sequence[str], pauses: Sequence[float] = (0.5, 3.0)) -> None:
        """Delete the layers that no image uses; failures are retried after *pauses* seconds, and at the next start."""
        failed = []
        for chain in self._unused_layers(chains):
            try:
                self._layers.drop(chain)
            except OSError as error:
                failed.append(chain)
                _log.warning("layer not deleted: layer=%s error=%s", chain, error)
        if failed and pauses:
            self._tasks.start(self._drop_layers_later(failed, pauses), "delete-layers")

    async def _drop_layers_later(self, chains: Sequence[str], pauses: Sequence[float]) -> None:
        await asyncio.sleep(pauses[0])
        async with self._lock:
            self._drop_layers(chains, pauses[1:])

    def _unused_layers(self, chains: Sequence[str]) -> list[str]:
        if self._store.incidents:
            # An image whose record was lost may use them.
            return []
        used = {chain for image in self._images.values() for chain in image.layers}
        return [chain for chain in chains if chain not in used]
