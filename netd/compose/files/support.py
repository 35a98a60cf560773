"""Which settings of a canonical project netd does not honour: refused, or ignored with a warning.  Pure.

Settings that Docker's compose ignores outside a swarm are ignored here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netd.compose.errors import ComposeError, Path
from netd.compose.reading.patterns import children, matches
from netd.compose.reading.positions import Positions

Json = dict[str, Any]

_SWARM = "it has an effect in a swarm only, and is ignored"
_GPU = "devices of drivers are not supported: pass the device files with `devices`"
REFUSED: dict[str, str] = {
    "services.*.provider": "providers are not supported: run a container, or start the provider yourself",
    "services.*.models": "models are not supported: run the model server as a service",
    "services.*.gpus": _GPU,
    "services.*.deploy.resources.reservations.devices": _GPU,
    "services.*.deploy.resources.reservations.generic_resources": "generic resources need a swarm: remove them",
    "services.*.credential_spec": "credential specs need a Windows host: remove it",
    "services.*.use_api_socket": "the socket is not passed on: mount the socket with `volumes`",
    "secrets.*.driver": "secret drivers need a swarm: use file or environment",
    "secrets.*.template_driver": "templates of secrets need a swarm: use file or environment",
    "configs.*.driver": "config drivers need a swarm: use file, environment or content",
    "configs.*.template_driver": "templates of configs need a swarm: use file, environment or content",
    "models.*": "models are not supported: run the model server as a service",
}
IGNORED: dict[str, str] = {
    "services.*.deploy.placement.*": _SWARM,
    "services.*.deploy.endpoint_mode": _SWARM,
    "services.*.deploy.update_config": _SWARM,
    "services.*.deploy.rollback_config": _SWARM,
    "services.*.deploy.labels": "it labels the service of a swarm only, and is ignored: use `labels`",
}
_VALUES: dict[str, tuple[tuple[str, ...], str]] = {
    "services.*.volumes.*.type": (
        ("npipe", "cluster"),
        "mounts of this type need Windows or a swarm",
    ),
    "services.*.isolation": (
        ("hyperv", "process"),
        "it needs a Windows host: remove it",
    ),
    "services.*.deploy.mode": (("global-job", "replicated-job"), "jobs need a swarm: use replicated"),
}


def refusals(document: Json, positions: Positions) -> Iterator[ComposeError]:
    """Yield an error for each setting that cannot be honoured."""
    for path, value in _settings(document):
        reason = next((text for pattern, text in _REFUSED if matches(pattern, path)), None)
        for pattern, (values, text) in _REFUSED_VALUES:
            if value in values and matches(pattern, path):
                reason = text
        if reason is not None:
            yield positions.error(path, reason)


def warnings(document: Json) -> Iterator[str]:
    """Yield a sentence for each setting that has no effect."""
    from netd.compose.errors import dotted

    for path, _value in _settings(document):
        for pattern, text in _IGNORED:
            if matches(pattern, path):
                yield f"{dotted(path)}: {text}"


def _settings(document: Json) -> Iterator[tuple[Path, Any]]:
    pending: list[tuple[Path, Any]] = [((), document)]
    while pending:
        path, value = pending.pop()
        if path:
            yield path, None if isinstance(value, (dict, list)) else value
        pending += [((*path, key), entry) for key, entry in children(value)]


def _split(table: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    return [(tuple(pattern.split(".")), entry) for pattern, entry in table.items()]


_REFUSED, _IGNORED, _REFUSED_VALUES = _split(REFUSED), _split(IGNORED), _split(_VALUES)
