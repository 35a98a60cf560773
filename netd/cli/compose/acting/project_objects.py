"""Networks and volumes of a project: found, checked, created and removed."""

from __future__ import annotations

from netd.cli.compose.acting.event_display import DONE, ERROR, WARNING
from netd.cli.compose.acting.project_containers import label_filter
from netd.cli.errors import ApiFault, Fault
from netd.compose import project_names as names
from netd.compose.config_hash import network_hash, volume_hash
from netd.compose.create.objects import network_body, volume_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from netd.cli.compose.acting.event_display import EventDisplay
    from netd.cli.transport.http import Client
    from netd.compose.model import ComposeProject

    Json = dict[str, Any]

_NOT_OURS = "a network with name {} exists but was not created {}. Set `external: true` to use an existing network"


class ProjectObjects:
    """The networks and volumes that *services* use, or all of the project."""

    def __init__(
        self, engine: Client, project: ComposeProject, services: Iterable[str] | None, display: EventDisplay
    ) -> None:
        self._engine, self._project, self._display = engine, project, display
        used = [project.services[key] for key in services] if services is not None else None
        self.networks = sorted(project.networks)
        self.volumes = sorted(project.volumes)
        if used is not None:
            networks = {key for service in used for key in service.networks}
            networks |= {"default" for service in used if not service.networks and not service.network_mode}
            volumes = {volume.source for service in used for volume in service.volumes if volume.type == "volume"}
            self.networks = [key for key in self.networks if key in networks]
            self.volumes = [key for key in self.volumes if key in volumes]

    def ensure(
        self, release_network: Callable[[str], None], release_volume: Callable[[str, str], bool]
    ) -> tuple[dict[str, str], set[str]]:
        """Create what is missing; return the ids of the networks by key, and the keys of those created anew.

        *release_network* frees a network whose configuration differs of its containers, *release_volume* does so for a
        volume if the user agrees, and returns whether.  Raises Fault.
        """
        project = self._project
        listed = self._engine.send("GET", "/networks") if self.networks else None
        volumes = [self._engine.send("GET", f"/volumes/{project.volumes[key].name}") for key in self.volumes]
        found: list[Json] = listed.response().json() if listed is not None else []
        known: dict[str, list[Json]] = {}
        for network in found:
            known.setdefault(network["Name"], []).append(network)
        ids: dict[str, str] = {}
        renewed: set[str] = set()
        for key in self.networks:
            ids[key] = self._ensure_network(key, known, found, renewed, release_network)
        for key, request in zip(self.volumes, volumes, strict=True):
            try:
                self._check_volume(key, request.response().json(), release_volume)
            except ApiFault as fault:
                if fault.status != 404:
                    raise
                self._create_volume(key)
        return ids, renewed

    def _ensure_network(
        self,
        key: str,
        known: dict[str, list[Json]],
        found: list[Json],
        renewed: set[str],
        release: Callable[[str], None],
    ) -> str:
        wanted = self._project.networks[key]
        named = known.get(wanted.name, [])
        if wanted.external:
            return self._external(wanted.name, named or [entry for entry in found if entry["Id"] == wanted.name])
        if not named:
            return self._create_network(key)
        ours = [entry for entry in named if self._is_ours(key, entry)]
        entry = (ours or named)[0]
        labels = entry.get("Labels") or {}
        self._warn_of_other_owner(wanted.name, labels)
        if not ours and names.PROJECT in labels and labels.get(names.NETWORK) != key:
            raise Fault(
                f"network {wanted.name} was found but has incorrect label {names.NETWORK} set to "
                f'"{labels.get(names.NETWORK, "")}" (expected: "{key}")'
            )
        differs = labels.get(names.CONFIG_HASH) not in (None, "", network_hash(wanted))
        if ours and differs:
            release(key)
            self._engine.call("DELETE", f"/networks/{entry['Id']}").close()
            self._display.event(f"Network {wanted.name}", "Removed", DONE)
            renewed.add(key)
            return self._create_network(key)
        return str(entry["Id"])

    def _is_ours(self, key: str, entry: Json) -> bool:
        labels = entry.get("Labels") or {}
        return labels.get(names.PROJECT) == self._project.name and labels.get(names.NETWORK) == key

    def _warn_of_other_owner(self, name: str, labels: Json) -> None:
        owner = labels.get(names.PROJECT)
        if owner is None:
            self._display.warn(_NOT_OURS.format(name, "by compose"))
        elif owner != self._project.name:
            self._display.warn(_NOT_OURS.format(name, f'for project "{self._project.name}"'))

    @staticmethod
    def _external(name: str, named: list[Json]) -> str:
        if not named:
            raise Fault(f"network {name} declared as external, but could not be found")
        if len(named) > 1:
            raise Fault(f'multiple networks with name "{name}" were found. Use network ID as `name` to avoid ambiguity')
        return str(named[0]["Id"])

    def _create_network(self, key: str) -> str:
        name = self._project.networks[key].name
        self._display.event(f"Network {name}", "Creating")
        try:
            made = self._engine.post("/networks/create", network_body(self._project, key))
        except ApiFault as fault:
            self._display.event(f"Network {name}", "Error", ERROR, fault.message)
            raise Fault(f"failed to create network {name}: {fault.message}") from None
        self._display.event(f"Network {name}", "Created", DONE)
        return str(made["Id"])

    def _check_volume(self, key: str, entry: Json, release: Callable[[str, str], bool]) -> None:
        wanted = self._project.volumes[key]
        if wanted.external:
            return
        labels = entry.get("Labels") or {}
        owner = labels.get(names.PROJECT)
        hint = "Use `external: true` to use an existing volume"
        if owner is None:
            self._display.warn(f'volume "{wanted.name}" already exists but was not created by Docker Compose. {hint}')
        elif owner != self._project.name:
            self._display.warn(
                f'volume "{wanted.name}" already exists but was created for project "{owner}" '
                f'(expected "{self._project.name}"). {hint}'
            )
        elif labels.get(names.CONFIG_HASH) not in (None, volume_hash(wanted)) and release(key, wanted.name):
            self._engine.call("DELETE", f"/volumes/{wanted.name}", query=(("force", "1"),)).close()
            self._create_volume(key)

    def _create_volume(self, key: str) -> None:
        volume = self._project.volumes[key]
        if volume.external:
            raise Fault(f'external volume "{volume.name}" not found')
        self._display.event(f"Volume {volume.name}", "Creating")
        try:
            self._engine.post("/volumes/create", volume_body(self._project, key))
        except ApiFault as fault:
            self._display.event(f"Volume {volume.name}", "Error", ERROR, fault.message)
            raise Fault(f"failed to create volume {volume.name}: {fault.message}") from None
        self._display.event(f"Volume {volume.name}", "Created", DONE)

    def remove_networks(self) -> bool:
        """Remove the project's networks that no container uses; return whether there were any.  Raises Fault."""
        query = (("filters", label_filter([f"{names.PROJECT}={self._project.name}"])), ("usage", "1"))
        found: list[Json] = self._engine.get("/networks", query)
        keys = {
            key: self._project.networks[key].name for key in self.networks if not self._project.networks[key].external
        }
        ours = [entry for entry in found if keys.get(entry["Labels"].get(names.NETWORK, "")) == entry["Name"]]
        for entry in ours:
            self._remove_network(entry)
        return bool(ours)

    def _remove_network(self, entry: Json) -> None:
        subject = f"Network {entry['Name']}"
        self._display.event(subject, "Removing")
        if self._engine.get(f"/networks/{entry['Id']}").get("Containers"):
            self._display.event(subject, "Resource is still in use", WARNING)
            return
        try:
            self._engine.call("DELETE", f"/networks/{entry['Id']}").close()
        except ApiFault as fault:
            if fault.status in (403, 409) and "active endpoints" in fault.message:
                self._display.event(subject, "Resource is still in use", WARNING)
                return
            if fault.status != 404:
                self._display.event(subject, "Error", ERROR, fault.message)
                raise Fault(f"failed to remove network {entry['Name']}: {fault.message}") from None
        self._display.event(subject, "Removed", DONE)

    def remove_volumes(self) -> bool:
        """Remove the project's volumes that no container uses; return whether there were any.  Raises Fault."""
        found = [self._project.volumes[key] for key in self.volumes if not self._project.volumes[key].external]
        any_removed = False
        for volume in found:
            any_removed |= remove_object(
                self._engine, self._display, f"Volume {volume.name}", f"/volumes/{volume.name}", (("force", "1"),)
            )
        return any_removed


def remove_object(
    engine: Client, display: EventDisplay, subject: str, path: str, query: tuple[tuple[str, str], ...] = ()
) -> bool:
    """Remove a volume or an image; one in use is left.  Return False if there was none.  Raises Fault."""
    display.event(subject, "Removing")
    try:
        engine.call("DELETE", path, query=query).close()
    except ApiFault as fault:
        if fault.status == 404:
            display.event(subject, "Warning: No resource found to remove", DONE)
            return False
        if fault.status != 409:
            display.event(subject, "Error", ERROR, fault.message)
            raise Fault(f"failed to remove {subject[0].lower()}{subject[1:]}: {fault.message}") from None
        display.event(subject, "Resource is still in use", WARNING)
        return True
    display.event(subject, "Removed", DONE)
    return True
