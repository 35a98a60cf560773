"""The records of images, tags and repository digests.

The only owner of these records.  It keeps them in memory, writes every change to the store first, and deletes a layer's
folder only after no image uses it any more, and no lease holds it.

Load, pull, build and commit add an image in these steps:

    with images.lease() as lease:
        for each layer, bottom first:
            if not images.hold(lease, chain):                       # already on disk: not unpacked again
                layer = await asyncio.to_thread(layers.unpack, file, diffs_below, expected=diff)
                await images.publish(layer, lease)
        image = await images.add_image(configuration, [name, name_with_digest])

An exception between them leaves layers that no image uses; they are deleted after LEFTOVER_SECONDS, so that the next
attempt can use them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from netd.common.errors import BadRequest, Conflict, NotFound
from netd.common.ids import now
from netd.common.store.store import Drop, Put, Store
from netd.common.tasks import Tasks
from runtime.images import reference
from runtime.images.image_config import ImageDocument, ImageRecord, TagRecord, chain_ids, image_id, parse_document
from runtime.images.layer_leases import Lease
from runtime.images.layer_sources import LayerSources
from runtime.images.layers import Layer, Layers
from runtime.images.reference import Reference

LEFTOVER_SECONDS = 3600.0
"""How long layers of an operation that failed are kept."""
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
        self._held: Counter[str] = Counter()
        self.used_elsewhere: Callable[[], Iterable[str]] = tuple
        """Returns the chain ids of layers that containers use."""
        self.sources = LayerSources(store)

    def load(self) -> None:
        """Load the records from the store."""
        self._layers.open()
        self.sources.load()
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
        """Return the names with tags of an image, sorted."""
        return [name for name in self.references(identifier) if not name.digest]

    def digests_of(self, identifier: str) -> list[Reference]:
        """Return the names with digests of manifests (RepoDigests) of an image, sorted."""
        return [name for name in self.references(identifier) if name.digest]

    def references(self, identifier: str) -> list[Reference]:
        """Return all names of an image, with tags and with digests, sorted."""
        found = [reference.parse(name) for name, image in self._tags.items() if image == identifier]
        return sorted(found, key=lambda name: name.short)

    def children(self, identifier: str) -> list[ImageRecord]:
        """Return the images whose parent is this image."""
        return [image for image in self._images.values() if image.parent == identifier]

    def image_of(self, name: Reference) -> str | None:
        """Return the id of the image with exactly this name."""
        return self._tags.get(name.full)

    def tags_of(self, repository: str) -> list[Reference]:
        """Return the names with tags in a repository, such as ``docker.io/library/nginx``, sorted."""
        found = (reference.parse(name) for name in self._tags if name.startswith(f"{repository}:"))
        return sorted((name for name in found if name.repository == repository and name.tag), key=lambda name: name.tag)

    def search(self, text: str) -> ImageRecord | None:
        """Do what :meth:`find` does; None if there is no such image or the name is invalid."""
        try:
            return self.find(text)
        except (BadRequest, NotFound):
            return None

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

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Yield a lease; at its end, layers that no image uses are kept for LEFTOVER_SECONDS."""
        lease = Lease(self._held)
        try:
            yield lease
        finally:
            unused = [chain for chain in self._unused_layers(lease.close()) if self._layers.exists(chain)]
            if unused:
                self._tasks.start(self._drop_layers_later(unused, (LEFTOVER_SECONDS, 0.5, 3.0)), "delete-layers")

    def new_lease(self) -> Lease:
        """Return a lease without end, for :meth:`release`; layers that it alone held are then deleted at once."""
        return Lease(self._held)

    async def release(self, *leases: Lease) -> None:
        async with self._lock:
            for lease in leases:
                self._drop_layers([chain for chain in lease.close() if self._layers.exists(chain)])

    def hold(self, lease: Lease, chain: str) -> bool:
        """Return whether the layer is on disk; it is then not deleted before the end of the lease."""
        lease.add(chain)
        return self._layers.exists(chain)

    async def publish(self, layer: Layer, lease: Lease) -> None:
        """Move an unpacked layer to its place on disk, if it is not there yet."""
        lease.add(layer.chain)
        await asyncio.to_thread(self._layers.publish, layer)

    async def add_image(self, text: str | bytes, names: Sequence[Reference] = (), *, parent: str = "") -> ImageRecord:
        """Record the image with the configuration document *text*, kept byte for byte, and give it *names*.

        A name with a digest is a repository digest.  Another image with one of the names loses it.  The caller holds
        the layers by a lease.  Raises BadRequest if the document is invalid, Conflict if a layer is not on disk.
        """
        document = parse_document(text)
        try:
            text = text if isinstance(text, str) else text.decode()
        except UnicodeDecodeError:
            raise BadRequest("the configuration of the image is not UTF-8") from None
        diffs = document.rootfs.diff_ids
        chains = chain_ids(diffs)
        if missing := [chain for chain in chains if not self._layers.exists(chain)]:
            raise Conflict(f"the layer {missing[0]} of the image is not on disk: try again")
        sizes = await asyncio.to_thread(lambda: [self._layers.size(chain) for chain in chains])
        async with self._lock:
            identifier = image_id(text)
            former = self._images.get(identifier)
            image = ImageRecord(
                id=identifier,
                text=text,
                layers=chains,
                size=sum(sizes),
                tagged=now() if any(not name.digest for name in names) else former.tagged if former else "",
                parent=parent if parent in self._images else former.parent if former else "",
            )
            tags = {name.full: image.id for name in names}
            await self._store.write(
                Put("image", image.id, image), *(Put("tag", name, TagRecord(image.id)) for name in tags)
            )
            self._images[image.id] = image
            self._tags |= tags
            return image

    async def add(self, document: ImageDocument, layer: Layer, name: Reference | None) -> ImageRecord:
        """Publish *layer*, record the image of this layer, and tag it with *name*."""
        with self.lease() as lease:
            await self.publish(layer, lease)
            return await self.add_image(msgspec.json.encode(document), [name] if name else [])

    async def tag(self, image: ImageRecord, name: Reference) -> None:
        """Tag *image* with *name*; another image with that name loses it."""
        async with self._lock:
            if image.id not in self._images:
                raise NotFound(f"No such image: {image.id}")
            tagged = msgspec.structs.replace(self._images[image.id], tagged=now())
            await self._store.write(Put("tag", name.full, TagRecord(image.id)), Put("image", image.id, tagged))
            self._images[image.id] = tagged
            self._tags[name.full] = image.id

    async def add_digest(self, image: ImageRecord, name: Reference) -> None:
        """Give *image* the name with the digest of its manifest at a registry, unless it was deleted meanwhile."""
        async with self._lock:
            if image.id in self._images:
                await self._store.write(Put("tag", name.full, TagRecord(image.id)))
                self._tags[name.full] = image.id

    async def untag(self, name: Reference) -> None:
        async with self._lock:
            await self._store.write(Drop("tag", name.full))
            self._tags.pop(name.full, None)

    async def layer_sizes(self) -> dict[str, int]:
        """Return the bytes of the files of the layers of all images, by chain id."""
        chains = {chain for image in self._images.values() for chain in image.layers}
        return await asyncio.to_thread(
            lambda: {chain: self._layers.size(chain) for chain in chains if self._layers.exists(chain)}
        )

    async def drop_unused(self, chains: Sequence[str]) -> None:
        """Delete those of the layers that nothing uses any more."""
        async with self._lock:
            self._drop_layers([chain for chain in chains if self._layers.exists(chain)])

    async def delete(self, image: ImageRecord) -> list[str]:
        """Delete the image, its names and digests, and the layers that nothing else uses, which are returned."""
        async with self._lock:
            if image.id not in self._images:
                raise Conflict(f"image {image.id} is being removed already")
            names = self.references(image.id)
            await self._store.write(Drop("image", image.id), *(Drop("tag", name.full) for name in names))
            del self._images[image.id]
            for name in names:
                del self._tags[name.full]
            unused = self._unused_layers(image.layers)
            self._drop_layers(image.layers)
            await self.sources.keep({diff for other in self.all() for diff in other.document.rootfs.diff_ids})
            return unused

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
        used.update(self.used_elsewhere())
        return [chain for chain in chains if chain not in used and chain not in self._held]
