"""Containers of a project as values, from the entries of ``GET /containers/json``.  Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable

from msgspec import Struct

from netd.compose import project_names as names
from netd.compose.model import ComposeProject, Json


class ExistingContainer(Struct, frozen=True, kw_only=True):
    """A container with labels of compose; ``number`` is 0 for a container of ``run``."""

    id: str
    name: str
    service: str
    number: int
    one_off: bool
    state: str
    config_hash: str
    image_id: str
    created: int
    labels: dict[str, str]
    network_ids: frozenset[str]
    mounts: tuple[Json, ...]
    entry: Json

    @property
    def running(self) -> bool:
        return self.state in ("running", "restarting", "paused")


def existing(entry: Json) -> ExistingContainer:
    labels: dict[str, str] = entry.get("Labels") or {}
    networks = (entry.get("NetworkSettings") or {}).get("Networks") or {}
    own_names = [name[1:] for name in entry.get("Names") or () if "/" not in name[1:]]
    number = labels.get(names.NUMBER, "")
    return ExistingContainer(
        id=entry["Id"],
        name=own_names[0] if own_names else entry["Id"][:12],
        service=labels.get(names.SERVICE, ""),
        number=int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0,
        one_off=labels.get(names.ONE_OFF) == "True",
        state=entry.get("State", ""),
        config_hash=labels.get(names.CONFIG_HASH, ""),
        image_id=labels.get(names.IMAGE, ""),
        created=entry.get("Created", 0),
        labels=labels,
        network_ids=frozenset(network.get("NetworkID") or "" for network in networks.values()),
        mounts=tuple(entry.get("Mounts") or ()),
        entry=entry,
    )


def orphans(
    project: ComposeProject, containers: Iterable[ExistingContainer], disabled: Container[str] = ()
) -> list[ExistingContainer]:
    """Return the containers of services that the files do not have; those of ``run`` are none.

    *disabled* are the services that the files have and the project does not, because they were not selected.
    """
    return [
        found
        for found in containers
        if not found.one_off and found.service not in project.services and found.service not in disabled
    ]


def by_number(containers: Iterable[ExistingContainer]) -> list[ExistingContainer]:
    return sorted(containers, key=lambda found: (found.service, found.number, found.name))
