"""Which containers of a service are kept, replaced, removed and created.  Pure; the rules of Docker's compose."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netd.compose.model import ComposeProject, ComposeService
from netd.compose.plan.existing import ExistingContainer

DIVERGED, FORCE, NEVER = "diverged", "force", "never"
"""When a container is replaced: if its configuration differs, always, never."""


class DesiredState(Struct, frozen=True, kw_only=True):
    """What an up-to-date container of a service has; ids of networks, names of volumes."""

    config_hash: str
    image_id: str
    network_ids: frozenset[str]
    volumes: frozenset[str]


class ServicePlan(Struct, frozen=True, kw_only=True):
    """``create`` are numbers of new containers; all other fields are containers that exist."""

    keep: tuple[ExistingContainer, ...] = ()
    recreate: tuple[ExistingContainer, ...] = ()
    remove: tuple[ExistingContainer, ...] = ()
    create: tuple[int, ...] = ()


def desired_state(
    project: ComposeProject, service: ComposeService, config_hash: str, image_id: str, network_ids: dict[str, str]
) -> DesiredState:
    """*network_ids* are those of the project's networks by key."""
    sources = (volume.source for volume in service.volumes if volume.type == "volume" and volume.source)
    return DesiredState(
        config_hash=config_hash,
        image_id=image_id,
        network_ids=frozenset(network_ids[key] for key in service.networks if key in network_ids),
        volumes=frozenset(project.volumes[key].name if key in project.volumes else key for key in sources),
    )


def plan_service(
    containers: Iterable[ExistingContainer], desired: DesiredState, replicas: int, policy: str = DIVERGED
) -> ServicePlan:
    """Return the plan for *containers*, which are those of the service without those of ``run``.

    Containers beyond *replicas* are removed: first those that differ, then those with the highest numbers.
    """
    found = list(containers)
    replaced = {container.id for container in found if must_recreate(container, desired, policy)}
    ranked = sorted(found, key=lambda container: (container.id in replaced, container.number, -container.created))
    kept, surplus = ranked[:replicas], ranked[replicas:]
    highest = max((container.number for container in found), default=0)
    missing = replicas - len(kept)
    return ServicePlan(
        keep=tuple(container for container in kept if container.id not in replaced),
        recreate=tuple(container for container in kept if container.id in replaced),
        remove=tuple(surplus),
        create=tuple(range(highest + 1, highest + 1 + missing)),
    )


def must_recreate(container: ExistingContainer, desired: DesiredState, policy: str) -> bool:
    """Return whether a new container has to take the place of *container*."""
    if policy in (FORCE, NEVER):
        return policy == FORCE
    if container.config_hash != desired.config_hash or container.image_id != desired.image_id:
        return True
    if container.state == "running" and not desired.network_ids <= container.network_ids:
        return True
    mounted = {mount.get("Name") for mount in container.mounts if mount.get("Type") == "volume"}
    return not desired.volumes <= mounted


def check_scale(key: str, service: ComposeService, replicas: int) -> None:
    """Raise ValueError if several containers would have the same name."""
    if service.container_name and replicas > 1:
        raise ValueError(
            f'the service "{key}" has the container name "{service.container_name}", and names are unique: '
            "remove container_name from the compose file to scale the service"
        )
