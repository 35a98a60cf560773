"""Stops and removes containers, with the hooks of their services."""

from __future__ import annotations

from netd.cli.compose.acting.event_display import DONE, ERROR
from netd.cli.compose.acting.hooks import run_hook
from netd.cli.compose.acting.ordered_jobs import run_ordered
from netd.cli.errors import ApiFault, Fault
from netd.compose.plan.dependencies import edges, reversed_edges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netd.cli.compose.acting.event_display import EventDisplay
    from netd.cli.compose.acting.project_context import ComposeContext
    from netd.compose.model import ComposeProject, ComposeService
    from netd.compose.plan.existing import ExistingContainer


class Stopper:
    """``timeout`` are the seconds before a container is killed; None for those of the container."""

    def __init__(self, context: ComposeContext, display: EventDisplay, timeout: int | None) -> None:
        self._context, self._engine, self._display = context, context.engine, display
        self._timeout = "" if timeout is None else str(timeout)

    def stop(self, container: ExistingContainer, service: ComposeService | None, *, quiet: bool = False) -> None:
        """Stop a container; one that does not run or does not exist is no error.  Raises Fault."""
        subject = f"Container {container.name}"
        if not quiet:
            self._display.event(subject, "Stopping")
        if service is not None and container.running:
            for hook in service.pre_stop:
                run_hook(self._engine, container.id, container.name, hook, self._display.line)
        try:
            self._engine.call("POST", f"/containers/{container.id}/stop", query=(("t", self._timeout),)).close()
        except ApiFault as fault:
            if fault.status != 404:
                self._display.event(subject, "Error while Stopping", ERROR, fault.message)
                raise Fault(f"cannot stop {container.name}: {fault.message}") from None
        if not quiet:
            self._display.event(subject, "Stopped", DONE)

    def remove(self, container: ExistingContainer, *, volumes: bool = False, force: bool = True) -> None:
        """Remove a container, with *volumes* also its anonymous ones.  Raises Fault."""
        subject = f"Container {container.name}"
        self._display.event(subject, "Removing")
        query = (("force", "1" if force else ""), ("v", "1" if volumes else ""))
        try:
            self._engine.call("DELETE", f"/containers/{container.id}", query=query).close()
        except ApiFault as fault:
            if fault.status != 404 and "is already in progress" not in fault.message:
                self._display.event(subject, "Error while Removing", ERROR, fault.message)
                raise Fault(f"cannot remove {container.name}: {fault.message}") from None
        self._display.event(subject, "Removed", DONE)

    def stop_and_remove(
        self, container: ExistingContainer, service: ComposeService | None, *, volumes: bool = False
    ) -> None:
        self.stop(container, service)
        self.remove(container, volumes=volumes)

    def in_reverse_order(
        self,
        project: ComposeProject,
        containers: Iterable[ExistingContainer],
        act: Callable[[ExistingContainer, ComposeService | None], None],
    ) -> None:
        """Apply *act* to containers, those of a service after those of all services that need it; to orphans first."""
        found: dict[str, list[ExistingContainer]] = {}
        for container in containers:
            found.setdefault(container.service, []).append(container)
        try:
            backwards = reversed_edges(edges(project.services))
        except ValueError:  # services that only labels name may form a cycle
            backwards = dict.fromkeys(project.services, frozenset())
        each: dict[str, frozenset[str]] = {}
        jobs: dict[str, tuple[ExistingContainer, ComposeService | None]] = {}
        for key, needs in backwards.items():
            ids = frozenset(container.id for container in found.get(key, ()))
            each[f"service {key}"] = ids | {f"service {other}" for other in needs}
            each |= dict.fromkeys(ids, frozenset(f"service {other}" for other in needs))
            jobs |= {container.id: (container, project.services[key]) for container in found.get(key, ())}
        for key in found.keys() - backwards.keys():
            each |= dict.fromkeys((container.id for container in found[key]), frozenset())
            jobs |= {container.id: (container, None) for container in found[key]}

        def job(name: str) -> None:
            if name in jobs:
                act(*jobs[name])

        run_ordered(each, job, self._context.cancellation, self._context.limit)
