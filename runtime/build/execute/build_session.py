"""What all steps of one build share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from netd.common.errors import BadRequest, NotFound
from runtime.build.dockerfile.instructions import Dockerfile
from runtime.build.execute.build_cache import BuildCache, CachedStep
from runtime.build.execute.build_output import StageOutput
from runtime.build.execute.build_request import BuildRequest
from runtime.build.execute.cache_mounts import CacheMounts
from runtime.build.execute.stage_state import KEY_COMMENT, StageState
from runtime.build.files.build_context import BuildContext
from runtime.build.plan.variables import Arguments
from runtime.distribution.pull import Puller
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle.control import Control
from runtime.engine.lifecycle.create import Creator
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.layer_leases import Lease
from runtime.images.layers import Layers
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers.selection import StorageDrivers

MOST_LAYERS = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of the daemon that builds use."""

    images: Images
    layers: Layers
    containers: Containers
    creator: Creator
    lifecycle: Lifecycle
    control: Control
    drivers: StorageDrivers
    paths: Paths
    deferred_delete: DeferredDelete
    cache: BuildCache
    cache_mounts: CacheMounts
    puller: Puller


@dataclass(slots=True, kw_only=True)
class BuildSession:
    services: Services
    request: BuildRequest
    dockerfile: Dockerfile
    arguments: Arguments
    context: BuildContext
    folder: Path
    """The build's folder in the scratch folder of the daemon; deleted at the end."""
    lease: Lease
    pulls: asyncio.Lock = field(default_factory=asyncio.Lock)
    pulled: set[str] = field(default_factory=set)
    """Names of images that this build has pulled."""
    stages: dict[int, asyncio.Future[StageState]] = field(default_factory=dict)
    """The needed stages, by index."""

    async def stage(self, index: int) -> StageState:
        """Wait for a stage and return its result.  A failure of it cancels the caller, which is not at fault."""
        task = self.stages[index]
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            raise asyncio.CancelledError
        return task.result()

    async def cached(self, key: str) -> CachedStep | None:
        """Return a step from the cache."""
        return await self.services.cache.find(key, self.lease) if self.request.use_cache else None

    def borrowed(self, key: str) -> BorrowedStep | None:
        """Return the step with a key from an image of ``--cache-from``; its layers are then held."""
        if not self.request.use_cache:
            return None
        for name in self.request.cache_from:
            with suppress(NotFound, BadRequest):
                image = self.services.images.find(name)
                found = step_of_image(image, key)
                if found and all([self.services.images.hold(self.lease, chain) for chain in image.layers]):
                    return found
        return None


@dataclass(frozen=True, slots=True)
class BorrowedStep:
    """A step of another image: when it was built, and the diff id of its layer, empty if it added none."""

    created: str
    diff: str


def step_of_image(image: ImageRecord, key: str) -> BorrowedStep | None:
    """Return the step with a key from an image that was built with it."""
    history = image.document.history or []
    for at, entry in enumerate(history):
        if entry.comment == f"{KEY_COMMENT}{key}":
            count = sum(not before.empty_layer for before in history[: at + 1])
            diffs = image.document.rootfs.diff_ids
            if entry.empty_layer:
                return BorrowedStep(entry.created, "")
            return BorrowedStep(entry.created, diffs[count - 1]) if count <= len(diffs) else None
    return None


@dataclass(slots=True, kw_only=True)
class StepContext:
    """What the steps of one stage share."""

    session: BuildSession
    output: StageOutput
    stage_index: int
