"""Pull: an image of a registry becomes an image of the store.

Layers are downloaded three at a time and unpacked in order.  Nothing is recorded before every digest was checked: of
the manifest, of the configuration, of each compressed layer, and of each archive in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace

from netd.common.errors import BadRequest, NotFound
from netd.common.tasks import AwaitedGroup
from runtime import manifests, platforms
from runtime.distribution.blob_files import BlobFile, BlobFiles
from runtime.distribution.pull_errors import worded_for
from runtime.distribution.unpacking import unpack
from runtime.images import compatibility, reference
from runtime.images.image_config import ImageDocument, ImageRecord, chain_ids, parse_document
from runtime.images.image_store import Images
from runtime.images.layer_leases import Lease
from runtime.images.layer_sources import LayerSource
from runtime.images.layers import Layers
from runtime.images.reference import Reference
from runtime.manifests import Descriptor, Index, Manifest
from runtime.platforms import Platform
from runtime.progress import Report
from runtime.registry.auth_config import Credentials
from runtime.registry.download import Blob, Progress
from runtime.registry.errors import RegistryError
from runtime.registry.registry_client import RegistryClient
from runtime.registry.repository import Document, Repository

_MOST_NESTED = 2


@dataclass(frozen=True, slots=True)
class _Source:
    """An image at a registry, with everything but its layers."""

    repository: Repository
    name: Reference
    digest: str
    """The digest of the manifest or index that the name stands for."""
    manifest: Manifest
    config: bytes
    document: ImageDocument


class Puller:
    def __init__(self, images: Images, layers: Layers, files: BlobFiles, registries: RegistryClient) -> None:
        self._images = images
        self._layers = layers
        self._files = files
        self._registries = registries

    async def pull(self, name: Reference, credentials: Credentials, platform: Platform | None, report: Report) -> None:
        """Pull the image with this tag or digest.  Raises Problems with Docker's texts."""
        failed: RegistryError | None = None
        async for repository in self._registries.repositories(name.domain, name.path, credentials):
            with worded_for(name):
                try:
                    newer = await self._pull(repository, name, platform, report)
                except RegistryError as error:
                    if not repository.site.mirror:
                        raise
                    failed = error
                    continue
            _finish(report, name, newer)
            return
        assert failed is not None
        raise failed

    async def pull_all(
        self, name: Reference, credentials: Credentials, platform: Platform | None, report: Report
    ) -> None:
        """Pull the images of all tags of a repository."""
        with worded_for(name):
            repository = await self._registries.repository(name.domain, name.path, credentials)
            tags = await repository.tags()
            if not tags:
                raise NotFound(f"the repository {name.short_repository} has no tags: push an image to it first")
            newer = False
            for tag in tags:
                tagged = reference.parse(f"{name.repository}:{tag}")
                newer |= await self._pull(repository, tagged, platform, report)
        _finish(report, name, newer)

    async def _pull(self, repository: Repository, name: Reference, platform: Platform | None, report: Report) -> bool:
        """Return whether the image is another one than the name stood for before."""
        wanted = name.digest or name.tag
        known = await self._known(repository, name, wanted, platform)
        if known is not None:
            _begin(report, name)
            report.status(f"Digest: {known}")
            return False
        top = await repository.manifest(wanted)
        _begin(report, name)
        manifest = await self._manifest(repository, top, platform or compatibility.host())
        source = await self._source(repository, name, top.digest, manifest, platform)
        named = self._images.image_of(name)
        with self._images.lease() as lease:
            await self._layers_of(source, lease, report)
            digest_name = replace(name, tag="", digest=top.digest)
            names = [digest_name] if name.digest else [name, digest_name]
            image = await self._images.add_image(source.config, names)
        report.status(f"Digest: {top.digest}")
        return named != image.id

    async def _known(
        self, repository: Repository, name: Reference, wanted: str, platform: Platform | None
    ) -> str | None:
        """Return the digest if *name* stands for the registry's image here; its manifest is not read for that."""
        here = self._images.image_of(name)
        if here is None or platform is not None or not _runs_here(self._images.by_id(here)):
            return None
        digest = name.digest or await repository.head(wanted)
        if not digest or self._images.image_of(replace(name, tag="", digest=digest)) != here:
            return None
        return digest

    async def _manifest(self, repository: Repository, top: Document, wanted: Platform) -> Manifest:
        """Return the manifest for a platform, which may be an entry of an index."""
        found = manifests.parse(top.data, top.media_type)
        for _ in range(_MOST_NESTED):
            if isinstance(found, Manifest):
                return found
            entry = _entry(found, wanted)
            document = await repository.manifest(entry.digest, entry.size)
            found = manifests.parse(document.data, entry.media_type)
        if isinstance(found, Manifest):
            return found
        raise BadRequest(f"the index {top.digest} holds indexes within indexes: push the image in one index")

    async def _source(
        self, repository: Repository, name: Reference, digest: str, manifest: Manifest, platform: Platform | None
    ) -> _Source:
        config = await repository.small_blob(manifest.config.digest, manifest.config.size)
        document = parse_document(config)
        image = Platform(document.os or "linux", document.architecture, document.variant)
        compatibility.check(image, name.short, platform)
        if len(document.rootfs.diff_ids) != len(manifest.layers):
            raise BadRequest(
                f"layers from manifest don't match image configuration: {len(manifest.layers)} layers and"
                f" {len(document.rootfs.diff_ids)} diff ids"
            )
        return _Source(repository, name, digest, manifest, config, document)

    # Layers

    async def _layers_of(self, source: _Source, lease: Lease, report: Report) -> None:
        """Bring all layers to the disk, bottom first."""
        diffs = source.document.rootfs.diff_ids
        chains = chain_ids(diffs)
        missing = [
            position for position, chain in enumerate(chains) if not self._hold(lease, chain, source, position, report)
        ]
        async with AsyncExitStack() as stack:
            files = {
                digest: await stack.enter_async_context(self._files.use(digest))
                for digest in dict.fromkeys(source.manifest.layers[position].digest for position in missing)
            }
            with _single_error():
                async with AwaitedGroup() as group:
                    fetched = {
                        digest: group.start(self._fetch(source, digest, file, report)) for digest, file in files.items()
                    }
                    for position in missing:
                        layer = source.manifest.layers[position]
                        await fetched[layer.digest]
                        await self._unpack(source, position, files[layer.digest], lease, report)
            for file in files.values():
                file.used_up()

    def _hold(self, lease: Lease, chain: str, source: _Source, position: int, report: Report) -> bool:
        short = _short(source.manifest.layers[position])
        exists = self._images.hold(lease, chain)
        report.status("Already exists" if exists else "Pulling fs layer", short)
        return exists

    async def _fetch(self, source: _Source, digest: str, file: BlobFile, report: Report) -> None:
        layer = next(layer for layer in source.manifest.layers if layer.digest == digest)
        short = _short(layer)
        progress = Progress(
            moved=report.mover("Downloading", short),
            waiting=lambda seconds: report.retrying(seconds, short),
            verifying=lambda: report.status("Verifying Checksum", short),
            queued=lambda: report.status("Waiting", short),
        )
        await file.fetch(source.repository, Blob(digest, layer.size), progress)
        report.status("Download complete", short)

    async def _unpack(self, source: _Source, position: int, file: BlobFile, lease: Lease, report: Report) -> None:
        described = source.manifest.layers[position]
        diffs = source.document.rootfs.diff_ids
        short = _short(described)
        if not self._images.hold(lease, chain_ids(diffs[: position + 1])[-1]):
            moved = report.mover("Extracting", short)
            layer = await unpack(
                self._layers, file.path, diffs[:position], diffs[position], lambda read: moved(read, described.size)
            )
            await self._images.publish(layer, lease)
        await self._images.sources.add(
            diffs[position],
            LayerSource(source.name.repository, described.digest, described.size, described.media_type),
        )
        report.status("Pull complete", short)


def _entry(index: Index, wanted: Platform) -> Descriptor:
    found = [manifests.platform_of(entry) for entry in index.manifests]
    position = platforms.best(found, wanted)
    if position is None and len(index.manifests) == 1 and index.manifests[0].platform is None:
        position = 0
    if position is None:
        offered = ", ".join(sorted({str(platform) for platform in found if platform}))
        raise NotFound(f"no matching manifest for {wanted} in the manifest list entries; it has {offered or 'none'}")
    return index.manifests[position]


def _runs_here(image: ImageRecord | None) -> bool:
    if image is None:
        return False
    document = image.document
    platform = Platform(document.os, document.architecture, document.variant)
    return platforms.best([platform], compatibility.host()) is not None


@contextmanager
def _single_error() -> Iterator[None]:
    """Raise the first error of a task group instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _begin(report: Report, name: Reference) -> None:
    path = name.path
    report.message({"status": f"Pulling from {path}", "id": name.short if name.digest else name.tag})


def _finish(report: Report, name: Reference, newer: bool) -> None:
    shown = name.short if name.tag or name.digest else name.short_repository
    report.status(f"Status: {'Downloaded newer image' if newer else 'Image is up to date'} for {shown}")


def _short(layer: Descriptor) -> str:
    return layer.digest.removeprefix("sha256:")[:12]
