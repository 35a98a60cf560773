"""``POST /commit``: makes an image of a container: the layers of its image, and its changes as a further layer."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec

from netd.common.errors import Conflict, NotFound, Problem
from netd.common.ids import now
from netd.version import VERSION
from runtime.build.plan import change_instructions
from runtime.container_config import Config, str_list
from runtime.engine.containers.container import Container as EngineContainer
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.control import Control
from runtime.engine.options.image_defaults import with_image_defaults
from runtime.images.image_config import History, ImageConfig, ImageDocument, ImageRecord, RootFS
from runtime.images.image_store import Images
from runtime.images.layers import Layer, Layers
from runtime.images.reference import Reference
from runtime.kernel import openat
from runtime.paths import Paths
from runtime.storage import runtime_files
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers.selection import StorageDrivers

EMPTY_DIFF = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The digest of an archive without entries: such a layer is not added to the image, as in Docker."""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """The parameters of a commit."""

    name: Reference | None
    author: str = ""
    comment: str = ""
    changes: Sequence[str] = ()
    config: Config | None = None
    """Settings that replace those of the container."""
    pause: bool = True


class Committer:
    def __init__(
        self,
        images: Images,
        layers: Layers,
        containers: Containers,
        control: Control,
        drivers: StorageDrivers,
        *,
        paths: Paths,
        deferred_delete: DeferredDelete,
    ) -> None:
        self._images = images
        self._layers = layers
        self._containers = containers
        self._control = control
        self._drivers = drivers
        self._paths = paths
        self._deferred_delete = deferred_delete

    async def run(self, container: EngineContainer, request: CommitRequest) -> ImageRecord:
        """Add the image.  Raises Conflict if the container is being removed, NotFound if its image was removed."""
        record = container.record
        if record.state.status in ("removing", "dead"):
            raise Conflict(f"You cannot commit container {container.id} which is being removed")
        base = self._images.by_id(record.image)
        if base is None:
            raise NotFound(
                f"No such image: {record.image}: the image of the container was removed; load or pull it again, or use"
                " export and import"
            )
        image_config = _with_changes(record.config, request)
        diffs = base.document.rootfs.diff_ids
        with self._images.lease() as lease:
            for chain in base.layers:
                lease.add(chain)
            async with self._paused(container, request.pause):
                layer = await self._layer(container, diffs)
            if self._containers.get(container.id) is None:
                await asyncio.to_thread(self._layers.discard, layer)
                raise Conflict(f"container {container.id} was removed while it was committed")
            is_empty = layer.diff == EMPTY_DIFF
            if is_empty:
                await asyncio.to_thread(self._layers.discard, layer)
            else:
                await self._images.publish(layer, lease)
            document = _document(base.document, image_config, request, record.config, "" if is_empty else layer.diff)
            names = [request.name] if request.name else []
            return await self._images.add_image(msgspec.json.encode(document), names, parent=base.id)

    async def _layer(self, container: EngineContainer, diffs: Sequence[str]) -> Layer:
        record = container.record
        own, lower = self._paths.container(container.id), self._paths.layer_folders(record.layers)
        driver = self._drivers.of(record.driver)
        scratch = self._deferred_delete.scratch_path("commit")

        def work() -> Layer:
            try:
                upper = driver.upper(own, lower, scratch)
                return self._layers.from_folder(upper, diffs, move=False, omit=lambda root: _omitted(root, lower))
            except FileNotFoundError:
                raise Conflict(f"container {container.id} was removed while it was committed") from None
            finally:
                self._deferred_delete.delete_now(scratch)

        return await asyncio.to_thread(work)

    @asynccontextmanager
    async def _paused(self, container: EngineContainer, wanted: bool) -> AsyncIterator[None]:
        """Freeze a running container within the block, unless it is frozen already."""
        state = container.record.state
        if not wanted or not state.counts_as_running or state.status in ("paused", "restarting"):
            yield
            return
        try:
            await self._control.pause(container)
        except Problem:  # it has ended, or was paused, meanwhile
            yield
            return
        try:
            yield
        finally:
            with suppress(Problem):
                await self._control.unpause(container)


def _with_changes(config: Config, request: CommitRequest) -> ImageConfig:
    """Return the image's configuration: that of the request, completed by the container's, after the changes."""
    given = request.config
    if given is not None:
        config = with_image_defaults(given, _image_config(config))
    return change_instructions.apply(request.changes, _image_config(config))


def _image_config(config: Config) -> ImageConfig:
    return ImageConfig(
        user=config.user or None,
        exposed_ports=config.exposed_ports,
        env=config.env,
        entrypoint=str_list(config.entrypoint),
        cmd=str_list(config.cmd),
        volumes=config.volumes,
        working_dir=config.working_dir or None,
        labels=config.labels or None,
        stop_signal=config.stop_signal or None,
        healthcheck=config.healthcheck,
        shell=config.shell,
        on_build=config.on_build,
    )


def _document(
    base: ImageDocument, config: ImageConfig, request: CommitRequest, container: Config, diff: str
) -> ImageDocument:
    moment = now()
    entry = History(
        created=moment,
        created_by=" ".join(str_list(container.cmd) or ()),
        author=request.author,
        comment=request.comment,
        empty_layer=not diff,
    )
    return ImageDocument(
        architecture=base.architecture,
        os=base.os,
        variant=base.variant,
        created=moment,
        author=request.author,
        comment=request.comment,
        docker_version=VERSION,
        config=config,
        rootfs=RootFS(diff_ids=[*base.rootfs.diff_ids, *([diff] if diff else [])]),
        history=[*(base.history or ()), entry],
    )


# What the runtime itself has created


def _omitted(upper: int, lower: Sequence[str]) -> Container[bytes]:
    """Return the paths in a writable layer that are no changes: files that the runtime creates in every container."""
    omitted = {path.lstrip(b"/") for path in runtime_files.FILES}
    for folder in (path.lstrip(b"/") for path in runtime_files.FOLDERS):
        found = openat.lstat(upper, folder)
        if found is None or not stat.S_ISDIR(found.st_mode):
            continue
        handle = openat.open_folder(upper, folder)
        try:
            names = {folder + b"/" + os.fsencode(name) for name in openat.names(handle)}
        finally:
            os.close(handle)
        if names <= omitted and _is_as_below(found, lower, folder):
            omitted.add(folder)
    return omitted


def _is_as_below(found: os.stat_result, lower: Sequence[str], folder: bytes) -> bool:
    """Return whether no layer has the folder, or the topmost that has it gives it the same mode and owner."""
    for layer in lower:
        root = openat.open_tree_root(layer)
        try:
            below = openat.lstat(root, folder)
        finally:
            os.close(root)
        if below is not None:
            same = (below.st_mode, below.st_uid, below.st_gid) == (found.st_mode, found.st_uid, found.st_gid)
            return same or not stat.S_ISDIR(below.st_mode)
    return True
