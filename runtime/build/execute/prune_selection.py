"""Selects the entries of the build cache that ``POST /build/prune`` drops.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from netd.common.filters import Filters
from runtime.build.execute.build_cache import CachedStep

KIND = "regular"
"""The type of every entry, in Docker's terms."""
SHOWN_DIGITS = 25
"""Characters of a key that are shown as the entry's id."""


def is_shared(step: CachedStep, in_images: Collection[str]) -> bool:
    """Return whether an image has the layer of this step, so that the entry takes no space of its own."""
    return bool(step.layers) and step.layers[-1] in in_images


@dataclass(frozen=True, slots=True)
class PruneSelection:
    """What to drop: entries not used after ``unused_since`` (RFC 3339, "" for all) that match ``filters``.

    Unless ``every``, entries whose layers an image uses are kept.  ``kept`` bytes of other entries remain, those used
    most recently.
    """

    filters: Filters
    unused_since: str = ""
    every: bool = False
    kept: int = 0

    @property
    def is_everything(self) -> bool:
        """Whether nothing but ``every`` limits the selection."""
        return not self.unused_since and not self.kept and not set(self.filters.values) - {"all"}

    def chosen(self, steps: Sequence[CachedStep], in_images: Collection[str]) -> list[CachedStep]:
        """Return the entries to drop of *steps*, which are sorted by their last use, the most recent first."""
        used, dropped = 0, []
        for step in steps:
            shared = is_shared(step, in_images)
            used += 0 if shared else step.size
            surplus = not self.kept or used > self.kept
            in_use = all(chain in in_images for chain in step.layers)
            if surplus and (self.every or not in_use) and self._matches(step, shared):
                dropped.append(step)
        return dropped

    def _matches(self, step: CachedStep, shared: bool) -> bool:
        filters = self.filters
        wanted = (("inuse", False), ("shared", shared), ("private", not shared))
        return (
            (not self.unused_since or step.used_text <= self.unused_since)
            and filters.prefix("id", step.key)
            and filters.exact("type", KIND)
            and filters.matches("description", step.description)
            and all(filters.flag(name) in (None, value) for name, value in wanted)
        )
