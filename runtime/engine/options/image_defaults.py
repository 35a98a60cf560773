"""What an image says by default, put under what was asked for.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from runtime.container_config import Config, Empty, words
from runtime.images.image_config import ImageConfig

T = TypeVar("T")


def with_image(config: Config, image: ImageConfig | None) -> Config:
    """Return *config* completed by the image's: an entrypoint of one's own drops the image's command."""
    given = image or ImageConfig()
    own_entrypoint = bool(words(config.entrypoint))
    entrypoint = words(config.entrypoint) if own_entrypoint or config.entrypoint == [] else words(given.entrypoint)
    if entrypoint == [""]:
        entrypoint = None
    cmd = words(config.cmd) or (None if own_entrypoint else words(given.cmd))
    return msgspec.structs.replace(
        config,
        user=config.user or given.user or "",
        exposed_ports=_union(given.exposed_ports, config.exposed_ports),
        env=_environment(given.env or [], config.env or []),
        entrypoint=entrypoint,
        cmd=cmd,
        working_dir=config.working_dir or given.working_dir or "",
        volumes=_union(given.volumes, config.volumes),
        labels={**(given.labels or {}), **(config.labels or {})},
        stop_signal=config.stop_signal or given.stop_signal or "",
        healthcheck=config.healthcheck or given.healthcheck,
        shell=config.shell or given.shell,
    )


def _union(
    below: Mapping[str, Empty | None] | None, above: Mapping[str, Empty | None] | None
) -> dict[str, Empty | None] | None:
    return {**(below or {}), **(above or {})} or None


def _environment(below: list[str], above: list[str]) -> list[str]:
    """Own entries first, then those of the image whose names are not among them, as Docker lists them."""
    named = {entry.partition("=")[0] for entry in above}
    return [*above, *(entry for entry in below if entry.partition("=")[0] not in named)]
