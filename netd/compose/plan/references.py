"""References of a service to containers of other services, resolved.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from netd.compose.model import ComposeService
from netd.compose.plan.dependencies import namespace_service
from netd.compose.plan.existing import ExistingContainer

_NAMESPACES = {"network_mode": "network namespace", "ipc": "IPC namespace", "pid": "PID namespace"}

Containers = Mapping[str, Sequence[ExistingContainer]]
"""The containers of each service, the lowest number first."""


def resolved(service: ComposeService, containers: Containers) -> ComposeService:
    """Return the service with ids of containers in place of names of services, as Docker's compose hashes it.

    Raises ValueError if a service has no container.
    """
    changes: dict[str, object] = {}
    for field, what in _NAMESPACES.items():
        if name := namespace_service(getattr(service, field)):
            changes[field] = f"container:{_first(name, containers, f'share {what}').id}"
    if service.volumes_from:
        changes["volumes_from"] = [word.partition(":")[0] for word in volumes_from(service, containers)]
    return msgspec.structs.replace(service, **changes) if changes else service


def volumes_from(service: ComposeService, containers: Containers) -> list[str]:
    """Return the words of ``VolumesFrom``: ids with the modes of the file.  Raises ValueError as :func:`resolved`."""
    found = []
    for word in service.volumes_from:
        if word.startswith("container:"):
            found.append(word.removeprefix("container:"))
            continue
        name, colon, mode = word.partition(":")
        found.append(_first(name, containers, "share volume").id + colon + mode)
    return found


def links(project: str, service: ComposeService, number: int, containers: Containers) -> list[str]:
    """Return the words of ``Links``: each container of a linked service under the names of compose's version 1.

    *number* is that of the container, -1 for one of ``run``, as in Docker's compose.
    """
    found = []
    for word in service.links:
        name, _, alias = word.partition(":")
        for container in containers.get(name, ()):
            aliases = (alias or name, f"{name}-{number}", f"{project}-{name}-{number}")
            found += [f"{container.name}:{known}" for known in aliases]
    for word in service.external_links:
        name, _, alias = word.partition(":")
        found.append(f"{name}:{alias or name}")
    return found


def _first(name: str, containers: Containers, what: str) -> ExistingContainer:
    found = containers.get(name)
    if not found:
        raise ValueError(f"cannot {what} with service {name}: container missing")
    return found[0]
