"""At which repositories a layer is known under which compressed digest, so that pull and push need not move it again.

Docker's "distribution metadata".  The only owner of the records of kind ``layer-source``.
"""

from __future__ import annotations

import msgspec

from netd.common.store.store import Drop, Put, Store

_MOST_KEPT = 20


class LayerSource(msgspec.Struct, frozen=True):
    """A compressed layer at a registry."""

    repository: str
    """The full name without tag: ``docker.io/library/nginx``."""
    digest: str
    """SHA-256 of the compressed layer, with ``sha256:``."""
    size: int
    """Bytes of the compressed layer."""
    media_type: str


class _Sources(msgspec.Struct, frozen=True):
    sources: list[LayerSource]


class LayerSources:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_diff: dict[str, list[LayerSource]] = {}

    def load(self) -> None:
        """Load the records from the store."""
        self._by_diff = {diff: record.sources for diff, record in self._store.load("layer-source", _Sources).items()}

    def of(self, diff: str) -> list[LayerSource]:
        """Return the known sources of the layer with this diff id, the latest first."""
        return list(self._by_diff.get(diff, ()))

    def diff_of(self, digest: str) -> str | None:
        """Return the diff id of a compressed layer that was seen with this digest."""
        return next((diff for diff, known in self._by_diff.items() if any(s.digest == digest for s in known)), None)

    async def add(self, diff: str, source: LayerSource) -> None:
        """Record a source; of one layer, at most the latest 20 are kept."""
        others = [known for known in self._by_diff.get(diff, ()) if known != source]
        kept = [source, *others][:_MOST_KEPT]
        if kept == self._by_diff.get(diff):
            return
        await self._store.write(Put("layer-source", diff, _Sources(kept)), durable=False)
        self._by_diff[diff] = kept

    async def keep(self, diffs: set[str]) -> None:
        """Forget the sources of all layers but these."""
        gone = [diff for diff in self._by_diff if diff not in diffs]
        if gone:
            await self._store.write(*(Drop("layer-source", diff) for diff in gone), durable=False)
            for diff in gone:
                self._by_diff.pop(diff, None)
