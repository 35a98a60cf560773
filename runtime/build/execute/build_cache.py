"""The build cache: results of steps by key, in the store; their layers are held until the entry is pruned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from netd.common.ids import now
from netd.common.store.store import Drop, Put, Store
from runtime.images.image_config import ImageDocument, chain_ids, parse_document
from runtime.images.image_store import Images
from runtime.images.layer_leases import Lease

_KIND = "build-step"
MOST_ENTRIES = 2000
"""Entries above this number are dropped, those that were not used for the longest time first."""
LARGEST = 64 << 20
"""The same for the characters of all documents, which are kept in memory."""
_TOUCH_SECONDS = 3600.0
"""A use is written to the store if the last one that was written is older than this."""


class CachedStep(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    text: str
    """The image configuration document after the step."""
    description: str
    created: str
    size: int = 0
    """Bytes of the layer that the step added."""
    used_at: float = 0.0
    """Seconds since 1970."""
    uses: int = 0
    shared_key: str = ""
    """A second key under which the entry is found: the same files, from another stage."""

    @property
    def document(self) -> ImageDocument:
        return parse_document(self.text)

    @property
    def used_text(self) -> str:
        """The time of the last use, RFC 3339."""
        return f"{datetime.fromtimestamp(self.used_at, UTC):%Y-%m-%dT%H:%M:%S}.000000000Z"

    @property
    def layers(self) -> list[str]:
        return chain_ids(self.document.rootfs.diff_ids)


class BuildCache:
    def __init__(self, store: Store, images: Images) -> None:
        self._store = store
        self._images = images
        self._steps: dict[str, CachedStep] = {}
        self._shared: dict[str, str] = {}
        self._leases: dict[str, Lease] = {}
        self._size = 0

    def load(self) -> None:
        """Load the entries, and hold their layers."""
        for step in self._store.load(_KIND, CachedStep).values():
            self._add(step)

    def all(self) -> list[CachedStep]:
        return sorted(self._steps.values(), key=lambda step: step.used_at, reverse=True)

    def layers(self) -> Iterable[str]:
        """Return the chain ids of all layers that entries refer to."""
        return (chain for step in self._steps.values() for chain in step.layers)

    async def find(self, key: str, lease: Lease) -> CachedStep | None:
        """Return a step, whose layers are then held by *lease*; None if it is unknown or its layers are gone."""
        step = self._steps.get(key) or self._steps.get(self._shared.get(key, ""))
        if step is None:
            return None
        if not all([self._images.hold(lease, chain) for chain in step.layers]):
            await self._drop([step])
            return None
        moment = time.time()
        used = msgspec.structs.replace(step, used_at=moment, uses=step.uses + 1)
        self._steps[step.key] = used
        if moment - step.used_at > _TOUCH_SECONDS:
            await self._store.write_best_effort(Put(_KIND, step.key, used))
        return step

    async def add_shared_key(self, key: str, shared_key: str) -> None:
        """Let the entry *key* be found under *shared_key* too, in place of its former second key."""
        if (step := self._steps.get(key)) is None:
            return
        if self._shared.get(step.shared_key) == key:
            del self._shared[step.shared_key]
        self._steps[key] = changed = msgspec.structs.replace(step, shared_key=shared_key)
        self._shared[shared_key] = key
        await self._store.write_best_effort(Put(_KIND, key, changed))

    async def put(self, key: str, text: str, *, description: str, size: int, shared_key: str = "") -> None:
        """Record the result of a step; the caller holds its layers."""
        step = CachedStep(
            key=key, text=text, description=description, created=now(), size=size, used_at=time.time(),
            shared_key=shared_key,
        )  # fmt: skip
        await self._store.write(Put(_KIND, key, step), durable=False)
        former = self._remove(key)
        self._add(step)
        await self._images.release(*former)
        await self._drop(self._surplus())

    async def prune(self, selected: Callable[[CachedStep], bool]) -> list[CachedStep]:
        """Drop the selected entries, and return them."""
        dropped = [step for step in self._steps.values() if selected(step)]
        await self._drop(dropped)
        return dropped

    def _surplus(self) -> list[CachedStep]:
        """Return the entries above the limits of number and size, those that were not used for the longest time."""
        if len(self._steps) <= MOST_ENTRIES and self._size <= LARGEST:
            return []
        kept = size = 0
        for step in self.all():
            size += len(step.text)
            if kept == MOST_ENTRIES or size > LARGEST:
                break
            kept += 1
        return self.all()[kept:]

    async def _drop(self, steps: list[CachedStep]) -> None:
        if not steps:
            return
        await self._store.write(*(Drop(_KIND, step.key) for step in steps))
        await self._images.release(*(lease for step in steps for lease in self._remove(step.key)))

    def _add(self, step: CachedStep) -> None:
        self._steps[step.key] = step
        self._size += len(step.text)
        if step.shared_key:
            self._shared[step.shared_key] = step.key
        lease = self._leases[step.key] = self._images.new_lease()
        for chain in step.layers:
            lease.add(chain)

    def _remove(self, key: str) -> list[Lease]:
        """Remove an entry; return its lease, to be released after new ones have been added."""
        step = self._steps.pop(key, None)
        if step is None:
            return []
        self._size -= len(step.text)
        if self._shared.get(step.shared_key) == key:
            del self._shared[step.shared_key]
        return [self._leases.pop(key)]
