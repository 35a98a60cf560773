"""The containers, networks and volumes of a project that exist, found by their labels."""

from __future__ import annotations

from netd.compose import project_names as names
from netd.compose.model import ComposeProject, ComposeService, Dependency, ProjectNetwork, ProjectVolume
from netd.compose.plan.existing import ExistingContainer, by_number, existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from netd.cli.transport.http import Client, HttpRequest

    Json = dict[str, Any]


def request_containers(
    engine: Client, project: str, *, stopped: bool = True, one_off: bool | None = False, more: Sequence[str] = ()
) -> HttpRequest:
    """Request the project's containers: those of ``run`` only, none of them, or (None) both kinds."""
    words = [f"{names.PROJECT}={project}", names.CONFIG_HASH, *more]
    if one_off is not None:
        words.append(f"{names.ONE_OFF}={one_off}")
    query = (("all", "1" if stopped else ""), ("filters", label_filter(words)))
    return engine.send("GET", "/containers/json", query=query)


def read_containers(request: HttpRequest) -> list[ExistingContainer]:
    """Return the requested containers by service and number."""
    return by_number(existing(entry) for entry in request.response().json() or ())


def project_containers(
    engine: Client, project: str, services: Iterable[str] = (), *, stopped: bool = True, one_off: bool | None = False
) -> list[ExistingContainer]:
    """Return the project's containers, only those of *services* if there are any."""
    wanted = set(services)
    found = read_containers(request_containers(engine, project, stopped=stopped, one_off=one_off))
    return [container for container in found if not wanted or container.service in wanted]


def project_of_containers(engine: Client, name: str) -> ComposeProject:
    """Return what labels tell of a project whose files are not at hand."""
    filters = (("filters", label_filter([f"{names.PROJECT}={name}"])),)
    networks, volumes = engine.send("GET", "/networks", query=filters), engine.send("GET", "/volumes", query=filters)
    containers = project_containers(engine, name)
    services = {container.service: _service(container) for container in containers if container.service}
    return ComposeProject(
        name=name,
        services=services,
        networks={
            network["Labels"].get(names.NETWORK, network["Name"]): ProjectNetwork(name=network["Name"])
            for network in networks.response().json() or ()
        },
        volumes={
            volume["Labels"].get(names.VOLUME, volume["Name"]): ProjectVolume(name=volume["Name"])
            for volume in volumes.response().json()["Volumes"] or ()
        },
    )


def label_filter(words: Iterable[str]) -> str:
    from json import dumps

    return dumps({"label": dict.fromkeys(words, True)})


def _service(container: ExistingContainer) -> ComposeService:
    needs = names.dependencies_of_label(container.labels.get(names.DEPENDS_ON, ""))
    return ComposeService(
        image=container.entry.get("Image", ""),
        depends_on={key: Dependency(condition=condition, restart=again) for key, (condition, again) in needs.items()},
    )
