"""A build request and its failures, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netd.common.errors import Problem
from runtime.container_config import HostConfig
from runtime.images.reference import Reference
from runtime.registry.auth_config import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    dockerfile: str = "Dockerfile"
    tags: tuple[Reference, ...] = ()
    target: str = ""
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    use_cache: bool = True
    pull: bool = False
    quiet: bool = False
    host: HostConfig = field(default_factory=HostConfig)
    """Limits, network and hosts of the containers of RUN."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    """The client's credentials by registry."""
    platform: str = ""
    """The default platform of FROM."""


class StepFailed(Problem):
    """A step failed; ``code`` is the exit code of its program, 0 if none ran; ``place`` names file, line and step."""

    def __init__(self, message: str, *, status: int, code: int = 0, place: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.place = place
