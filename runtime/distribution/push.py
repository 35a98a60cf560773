"""Push: an image of the store to a registry.

A layer that the registry has is not sent again: its compressed digests are remembered from earlier pulls and pushes.
Others are mounted from another repository of the registry, or compressed while they are sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import msgspec
from isal import isal_zlib

from netd.common.errors import BadRequest, NotFound
from netd.common.tasks import AwaitedGroup
from runtime.images import compatibility
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.layer_sources import LayerSource
from runtime.images.layers import Layers
from runtime.images.reference import Reference
from runtime.manifests import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from runtime.platforms import Platform
from runtime.progress import Report
from runtime.registry import upload
from runtime.registry.auth_config import Credentials
from runtime.registry.download import Progress
from runtime.registry.registry_client import RegistryClient
from runtime.registry.repository import Repository, digest_of

UPLOADS = 5
"""Uploads at the same time, of all pushes together; Docker's default."""
_MOST_TRIED = 4
"""Digests of a layer that the registry is asked for; Docker's number."""
_LEVEL = 3
"""Of ISA-L's deflate; five times as fast as zlib's level 4 on programs and libraries, for 5 % more bytes."""
_PIECE = 1 << 20
_POOL = ThreadPoolExecutor(UPLOADS, thread_name_prefix="push")
"""A pool of its own, because compression takes long and other requests need the default one."""


@dataclass(frozen=True, slots=True)
class _Layer:
    chain: str
    diff: str

    @property
    def short(self) -> str:
        return self.diff.removeprefix("sha256:")[:12]


class Pusher:
    def __init__(self, images: Images, layers: Layers, registries: RegistryClient) -> None:
        self._images = images
        self._layers = layers
        self._registries = registries
        self._permits = asyncio.Semaphore(UPLOADS)

    async def push(
        self, name: Reference, credentials: Credentials, report: Report, platform: Platform | None = None
    ) -> None:
        """Push the image with this tag; without tag, the images of all tags of the repository.

        Raises Problems; NotFound if an image is not for *platform*.
        """
        for tagged in (name,) if name.tag else self._images.tags_of(name.repository):
            self._check_platform(tagged, platform)
        report.status(f"The push refers to repository [{name.repository}]")
        if name.digest:
            raise BadRequest("cannot push a digest reference")
        names = [name] if name.tag else self._images.tags_of(name.repository)
        if not names:
            raise NotFound(f"An image does not exist locally with the tag: {name.short_repository}")
        if self._images.image_of(names[0]) is None:
            known = self._images.tags_of(name.repository)
            missing = f"tag does not exist: {name.short}"
            absent = f"An image does not exist locally with the tag: {name.short_repository}"
            raise NotFound(missing if known else absent)
        repository = await self._registries.repository(name.domain, name.path, credentials, push=True)
        for tagged in names:
            await self._push(repository, tagged, report)

    def _check_platform(self, name: Reference, platform: Platform | None) -> None:
        identifier = self._images.image_of(name)
        image = self._images.by_id(identifier) if identifier else None
        if image is not None and platform is not None:
            document = image.document
            compatibility.check(
                Platform(document.os, document.architecture, document.variant), name.short, platform
            )  # fmt: skip

    async def _push(self, repository: Repository, name: Reference, report: Report) -> None:
        image = self._images.find(name.full)
        with self._images.lease() as lease:
            for chain in image.layers:
                self._images.hold(lease, chain)
            layers = [_Layer(*pair) for pair in zip(image.layers, image.document.rootfs.diff_ids, strict=True)]
            sources = await self._layers_to(repository, name, layers, report)
            data, media_type = await self._manifest(repository, image, sources)
            await upload.put_manifest(repository, name.tag, media_type, data)
            digest = digest_of(data)
            await self._images.add_digest(image, replace(name, tag="", digest=digest))
        report.status(f"{name.tag}: digest: {digest} size: {len(data)}")
        report.message({"progressDetail": {}, "aux": {"Tag": name.tag, "Digest": digest, "Size": len(data)}})

    async def _layers_to(
        self, repository: Repository, name: Reference, layers: Sequence[_Layer], report: Report
    ) -> list[LayerSource]:
        """Bring all layers to the repository; return where they are, bottom first."""
        different = list(dict.fromkeys(layers))
        for layer in reversed(different):
            report.status("Preparing", layer.short)
        for layer in reversed(different[:-UPLOADS]):
            report.status("Waiting", layer.short)
        tasks: dict[str, asyncio.Task[LayerSource]] = {}
        try:
            async with AwaitedGroup() as group:
                for layer in reversed(different):
                    tasks[layer.chain] = group.start(self._layer(repository, name, layer, report))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [tasks[layer.chain].result() for layer in layers]

    async def _layer(self, repository: Repository, name: Reference, layer: _Layer, report: Report) -> LayerSource:
        async with self._permits:
            source = await self._existing(repository, name, layer, report)
            if source is None:
                source = await self._upload(repository, name, layer, report)
        await self._images.sources.add(layer.diff, source)
        return source

    async def _existing(
        self, repository: Repository, name: Reference, layer: _Layer, report: Report
    ) -> LayerSource | None:
        """Return the layer in the repository if it is there, or can be mounted from another one of the registry."""
        known = self._images.sources.of(layer.diff)
        known.sort(key=lambda source: (source.repository != name.repository, not _same_registry(source, name)))
        different: dict[str, LayerSource] = {}
        for source in known:
            different.setdefault(source.digest, source)
        for source in list(different.values())[:_MOST_TRIED]:
            size = await upload.has_blob(repository, source.digest)
            if size is not None and size in (0, source.size):
                report.status("Layer already exists", layer.short)
                return msgspec.structs.replace(source, repository=name.repository)
        for source in known[:_MOST_TRIED]:
            other = source.repository.removeprefix(f"{name.domain}/")
            if _same_registry(source, name) and other != name.path and await upload.mount(
                repository, source.digest, other
            ):  # fmt: skip
                report.status(f"Mounted from {other}", layer.short)
                return msgspec.structs.replace(source, repository=name.repository)
        return None

    async def _upload(self, repository: Repository, name: Reference, layer: _Layer, report: Report) -> LayerSource:
        total = (await asyncio.to_thread(self._layers.summary, layer.chain, layer.diff)).tar_size
        moved = report.mover("Pushing", layer.short)
        progress = Progress(waiting=lambda seconds: report.retrying(seconds, layer.short))

        def source() -> AsyncIterator[bytes]:
            return _compressed(self._layers.archive(layer.chain, layer.diff), lambda read: moved(read, total))

        blob = await upload.stream_blob(repository, source, progress)
        report.status("Pushed", layer.short)
        return LayerSource(name.repository, blob.digest, blob.size, DOCKER_LAYER)

    async def _manifest(
        self, repository: Repository, image: ImageRecord, sources: Sequence[LayerSource]
    ) -> tuple[bytes, str]:
        """Upload the configuration; return the manifest and its media type."""
        config = image.text.encode()
        if await upload.has_blob(repository, image.id) is None:
            await upload.put_blob(repository, config, image.id)
        is_docker = all(_docker_type(source.media_type) for source in sources)
        media_type, config_type = (DOCKER_MANIFEST, DOCKER_CONFIG) if is_docker else (OCI_MANIFEST, OCI_CONFIG)
        manifest = Manifest(
            schema_version=2,
            media_type=media_type,
            config=Descriptor(config_type, len(config), image.id),
            layers=[
                Descriptor(
                    _docker_type(source.media_type) if is_docker else _oci_type(source.media_type),
                    source.size,
                    source.digest,
                )
                for source in sources
            ],
        )
        return msgspec.json.encode(manifest), media_type


_DOCKER_TYPES = {
    f"{OCI_LAYER}+gzip": DOCKER_LAYER,
    DOCKER_LAYER: DOCKER_LAYER,
    OCI_LAYER: DOCKER_LAYER.removesuffix(".gzip"),
    DOCKER_LAYER.removesuffix(".gzip"): DOCKER_LAYER.removesuffix(".gzip"),
}
_OCI_TYPES = {DOCKER_LAYER: f"{OCI_LAYER}+gzip", DOCKER_LAYER.removesuffix(".gzip"): OCI_LAYER}


def _docker_type(media_type: str) -> str:
    """Return Docker's media type of a layer; "" if there is none, as for zstd."""
    return _DOCKER_TYPES.get(media_type, "")


def _oci_type(media_type: str) -> str:
    return _OCI_TYPES.get(media_type, media_type)


def _same_registry(source: LayerSource, name: Reference) -> bool:
    return source.repository.startswith(f"{name.domain}/")


def _ignore(step: asyncio.Future[tuple[bytes, bool]]) -> None:
    """Retrieve the error of a step whose result is not needed any more."""
    if not step.cancelled():
        step.exception()


async def _compressed(archive: Iterator[bytes], moved: Callable[[int], None]) -> AsyncIterator[bytes]:
    """Yield *archive* compressed by gzip; read and compressed in threads.  *moved* gets the bytes read so far."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
    read = 0

    def step() -> tuple[bytes, bool]:
        nonlocal read
        packed = bytearray()
        for data in archive:
            read += len(data)
            packed += packer.compress(data)
            if len(packed) >= _PIECE:
                return bytes(packed), False
        return bytes(packed + packer.flush()), True

    loop = asyncio.get_running_loop()
    next_step = loop.run_in_executor(_POOL, step)
    try:
        at_end = False
        while not at_end:
            piece, at_end = await next_step
            moved(read)
            if not at_end:
                # The next piece is compressed while this one is sent.
                next_step = loop.run_in_executor(_POOL, step)
            if piece:
                yield piece
    finally:
        next_step.add_done_callback(_ignore)
