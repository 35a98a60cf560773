"""Merges the image's default configuration into that of a create request.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from runtime.container_config import Config, Empty, str_list
from runtime.images.image_config import ImageConfig

T = TypeVar("T")


def with_image_defaults(config: Config, image: ImageConfig | None) -> Config:
    """Return *config* with the image's defaults.  If the request sets an entrypoint, the image's command is ignored."""
    defaults = image or ImageConfig()
    sets_entrypoint = bool(str_list(config.entrypoint))
    entrypoint = (
        str_list(config.entrypoint) if sets_entrypoint or config.entrypoint == [] else str_list(defaults.entrypoint)
    )
    if entrypoint == [""]:
        entrypoint = None
    cmd = str_list(config.cmd) or (None if sets_entrypoint else str_list(defaults.cmd))
    return msgspec.structs.replace(
        config,
        user=config.user or defaults.user or "",
        exposed_ports=_union(defaults.exposed_ports, config.exposed_ports),
        env=_environment(defaults.env or [], config.env or []),
        entrypoint=entrypoint,
        cmd=cmd,
        working_dir=config.working_dir or defaults.working_dir or "",
        volumes=_union(defaults.volumes, config.volumes),
        labels={**(defaults.labels or {}), **(config.labels or {})},
        stop_signal=config.stop_signal or defaults.stop_signal or "",
        healthcheck=config.healthcheck or defaults.healthcheck,
        shell=config.shell or defaults.shell,
        on_build=config.on_build or defaults.on_build,
    )


def _union(
    defaults: Mapping[str, Empty | None] | None, requested: Mapping[str, Empty | None] | None
) -> dict[str, Empty | None] | None:
    return {**(defaults or {}), **(requested or {})} or None


def _environment(defaults: list[str], requested: list[str]) -> list[str]:
    """Return the request's entries, then the image's entries with other names: Docker's order."""
    names = {entry.partition("=")[0] for entry in requested}
    return [*requested, *(entry for entry in defaults if entry.partition("=")[0] not in names)]
