"""Makes the containers of each service those that the project describes: creates, replaces and removes, starts none."""

from __future__ import annotations

import threading

from netd.cli.compose.acting.event_display import DONE, ERROR
from netd.cli.compose.acting.stop_phase import Stopper
from netd.cli.errors import ApiFault, Fault
from netd.compose import project_names as names
from netd.compose.config_hash import service_hash
from netd.compose.create.container_body import ContainerIdentity, CreationContext, container_body
from netd.compose.plan import references
from netd.compose.plan.dependencies import dependencies
from netd.compose.plan.existing import ExistingContainer, existing
from netd.compose.plan.service_plan import DIVERGED, FORCE, check_scale, desired_state, plan_service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from netd.cli.compose.acting.event_display import EventDisplay
    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext
    from netd.cli.compose.acting.service_images import ServiceImage
    from netd.compose.model import ComposeService
    from netd.compose.plan.service_plan import ServicePlan

    Json = dict[str, Any]


class Convergence:
    """The state of one call; ``containers`` are those of each service that has been made, the lowest number first."""

    def __init__(
        self,
        context: ComposeContext,
        active: ActiveProject,
        display: EventDisplay,
        *,
        observed: Iterable[ExistingContainer],
        images: Mapping[str, ServiceImage],
        network_ids: dict[str, str],
        renewed_networks: Iterable[str] = (),
        timeout: int | None = None,
        inherit: bool = True,
    ) -> None:
        self._context, self._active, self._display = context, active, display
        self._engine, self._project = context.engine, active.project
        self._images, self._network_ids = images, network_ids
        self._renewed, self._inherit = frozenset(renewed_networks), inherit
        self._stopper = Stopper(context, display, timeout)
        self._lock = threading.Lock()
        self.containers: dict[str, list[ExistingContainer]] = {}
        for container in observed:
            self.containers.setdefault(container.service, []).append(container)
        self.stopped: set[str] = set()
        """Services whose containers were stopped because one that they need was replaced."""

    def converge(self, key: str, policy: str) -> None:
        """Make the containers of a service; those that it needs must have been made.  Raises Fault with its name."""
        try:
            self._converge(key, policy)
        except (ApiFault, ValueError) as error:
            raise Fault(f'service "{key}": {error}') from None

    def _converge(self, key: str, policy: str) -> None:
        written = self._project.services[key]
        service = references.resolved(written, self.containers)
        replicas = service.replicas()
        check_scale(key, service, replicas)
        image = self._images[key]
        desired = desired_state(self._project, service, service_hash(service), image.id, self._network_ids)
        if policy == DIVERGED and self._renewed & set(service.networks):
            policy = FORCE
        plan = plan_service(self.containers.get(key, ()), desired, replicas, policy)
        if plan.recreate:
            self._stop_dependents(key)
        made = self._apply(key, service, plan)
        with self._lock:
            self.containers[key] = sorted(made, key=lambda container: (container.number, container.name))

    def _apply(self, key: str, service: ComposeService, plan: ServicePlan) -> list[ExistingContainer]:
        for container in plan.keep:
            if container.running:
                self._display.event(f"Container {container.name}", "Running", DONE)
        for container in plan.remove:
            self._stopper.stop_and_remove(container, service)
        made = list(plan.keep)
        made += [self._replaced(key, service, container) for container in plan.recreate]
        return made + [self._created(key, service, number) for number in plan.create]

    def _stop_dependents(self, key: str) -> None:
        """Stop the running containers of services that ask to be restarted with *key*."""
        for other, service in self._project.services.items():
            wanted = dependencies(service).get(key)
            if wanted is None or not wanted.restart:
                continue
            with self._lock:
                self.stopped.add(other)
                found = [container for container in self.containers.get(other, ()) if container.running]
            for container in found:
                self._stopper.stop(container, service)

    def _created(self, key: str, service: ComposeService, number: int) -> ExistingContainer:
        name = names.container_name(self._project.name, key, service, number, self._context.between)
        subject = f"Container {name}"
        self._display.event(subject, "Creating")
        try:
            made = self.create(key, service, ContainerIdentity(name=name, number=number), name)
        except (ApiFault, ValueError) as error:
            self._display.event(subject, "Error", ERROR, str(error))
            raise
        self._display.event(subject, "Created", DONE)
        return made

    def _replaced(self, key: str, service: ComposeService, old: ExistingContainer) -> ExistingContainer:
        """Create the new container under a temporary name, then remove the old one; on failure the old one stays."""
        name = names.container_name(self._project.name, key, service, old.number, self._context.between)
        subject = f"Container {old.name}"
        self._display.event(subject, "Recreate")
        identity = ContainerIdentity(
            name=name, number=old.number, replaces=name.removeprefix(f"{self._project.name}{self._context.between}")
        )
        inherited = old.mounts if self._inherit else ()
        try:
            made = self.create(key, service, identity, f"{old.id[:12]}_{name}", inherited)
            try:
                self._stopper.stop(old, service, quiet=True)
                self._engine.call("DELETE", f"/containers/{old.id}").close()
            except Fault:
                self._engine.call("DELETE", f"/containers/{made.id}", query=(("force", "1"),)).close()
                raise
            self._engine.call("POST", f"/containers/{made.id}/rename", query=(("name", name),)).close()
        except (Fault, ValueError) as error:
            self._display.event(subject, "Error", ERROR, str(error))
            raise
        self._display.event(subject, "Recreated", DONE)
        return made

    def create(
        self,
        key: str,
        service: ComposeService,
        identity: ContainerIdentity,
        name: str,
        inherited: Iterable[Json] = (),
        **more: bool,
    ) -> ExistingContainer:
        """Create a container under *name*.  Raises ApiFault and ValueError."""
        image = self._images[key]
        written = self._project.services[key]
        number = -1 if identity.slug else identity.number
        linked = references.links(self._project.name, service, number, self.containers)
        creation = CreationContext(
            image=image.name,
            image_id=image.id,
            working_dir=self._active.working_dir,
            files=self._active.files,
            links=tuple(linked),
            volumes_from=tuple(references.volumes_from(written, self.containers)),
            inherited=tuple(inherited),
            image_volumes=image.volumes,
            **more,
        )
        body = container_body(self._project, key, service, identity, creation)
        query = (("name", name), ("platform", service.platform))
        answer = self._engine.post("/containers/create", body, query=query)
        for warning in answer.get("Warnings") or ():
            self._display.warn(f"{identity.name}: {warning}")
        return existing({
            "Id": answer["Id"],
            "Names": [f"/{identity.name}"],
            "Labels": body["Labels"],
            "State": "created",
            "Image": image.name,
        })  # fmt: skip
