"""Starts containers of services after what they depend on: started, healthy or completed."""

from __future__ import annotations

import time

from netd.cli.compose.acting.event_display import DONE, ERROR, WARNING
from netd.cli.compose.acting.hooks import run_hook
from netd.cli.compose.acting.secret_files import inject
from netd.cli.errors import ApiFault, Fault
from netd.compose.plan.dependencies import dependencies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from netd.cli.compose.acting.event_display import EventDisplay
    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext
    from netd.compose.model import Dependency
    from netd.compose.plan.existing import ExistingContainer

    Json = dict[str, Any]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.05
_SHORTEST_LIFE = 0.5
"""Seconds that a container without a healthcheck has to run before it counts as up, as with Docker's compose."""
RUNNING_OR_HEALTHY = "running_or_healthy"


class Starter:
    """The state of one call; ``containers`` are those of each service.

    *on_starting* and *on_started* are called with each container immediately before and after it is started.
    """

    def __init__(
        self,
        context: ComposeContext,
        active: ActiveProject,
        display: EventDisplay,
        containers: Mapping[str, Sequence[ExistingContainer]],
        *,
        on_starting: Callable[[ExistingContainer], None] | None = None,
        on_started: Callable[[ExistingContainer], None] | None = None,
        stopped: frozenset[str] = frozenset(),
        wait_seconds: float | None = None,
    ) -> None:
        self._context, self._active, self._display = context, active, display
        self._engine, self._containers, self._stopped = context.engine, containers, stopped
        self._on_starting, self._on_started = on_starting, on_started
        self._deadline = None if wait_seconds is None else time.monotonic() + wait_seconds

    def start(self, key: str) -> None:
        """Start the containers of a service that do not run, after its dependencies; wait for these in any case.

        Raises Fault with the name of the service.
        """
        service = self._active.project.services[key]
        idle = [
            container
            for container in self._containers.get(key, ())
            if key in self._stopped or not container.running
        ]  # fmt: skip
        for name, wanted in dependencies(service).items():
            try:
                self._wait_for(key, name, wanted)
            except Fault as fault:
                raise Fault(f'service "{key}": {fault.message}', fault.code) from None
        for container in idle:
            if self._context.cancellation.requested:
                raise Fault(f'service "{key}" was not started, because the user interrupted', 130)
            try:
                self._start(key, container)
            except ApiFault as fault:
                self._display.event(f"Container {container.name}", "Error", ERROR, fault.message)
                raise Fault(f'service "{key}": {fault.message}') from None

    def _start(self, key: str, container: ExistingContainer) -> None:
        service = self._active.project.services[key]
        subject = f"Container {container.name}"
        self._display.event(subject, "Starting")
        inject(self._engine, container.id, self._active.project, service, self._active.environment)
        if self._on_starting is not None:
            self._on_starting(container)
        self._engine.call("POST", f"/containers/{container.id}/start").close()
        if self._on_started is not None:
            self._on_started(container)
        for hook in service.post_start:
            run_hook(self._engine, container.id, container.name, hook, self._display.line)
        self._display.event(subject, "Started", DONE)

    def wait_until_up(self, key: str) -> None:
        """Wait until the containers of a service run, and are healthy if they have a test.  Raises Fault."""
        for container in self._containers.get(key, ()):
            self._wait(container, RUNNING_OR_HEALTHY)

    def _wait_for(self, key: str, name: str, wanted: Dependency) -> None:
        if wanted.condition in ("", "service_started") or name not in self._active.project.services:
            return
        if self._active.project.services[name].replicas() == 0:
            return
        found = self._containers.get(name, ())
        if not found:
            self._missing(f"{key} is missing dependency {name}", wanted.required)
        for container in found:
            try:
                self._wait(container, wanted.condition)
            except Fault as fault:
                if wanted.required or fault.code == 130:
                    raise
                subject = f"Container {container.name}"
                self._display.event(subject, "Skipped", WARNING, f'optional dependency "{name}": {fault.message}')

    def _missing(self, message: str, required: bool) -> None:
        if required:
            raise Fault(message)
        self._display.warn(message)

    def _wait(self, container: ExistingContainer, condition: str) -> None:
        subject = f"Container {container.name}"
        self._display.event(subject, "Waiting")
        if self._context.dry_run:
            return
        pause = _SHORTEST_PAUSE
        while True:
            state = self._engine.get(f"/containers/{container.id}/json")
            try:
                reached = _CONDITIONS[condition](container.name, state)
            except KeyError:
                raise Fault(f'unsupported depends_on condition "{condition}": use service_started, '
                            "service_healthy or service_completed_successfully") from None  # fmt: skip
            except Fault as fault:
                self._display.event(subject, "Error", ERROR, fault.message)
                raise
            if reached:
                self._display.event(subject, reached, DONE)
                return
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise Fault(f"timeout waiting for {container.name}: it is not {_ADJECTIVES.get(condition, 'ready')}")
            self._context.cancellation.pause(pause)
            if self._context.cancellation.requested:
                raise Fault(f"{container.name} was not waited for, because the user interrupted", 130)
            pause = min(_LONGEST_PAUSE, pause * 1.5)


_ADJECTIVES = {
    "service_healthy": "healthy",
    RUNNING_OR_HEALTHY: "running or healthy",
    "service_completed_successfully": "completed",
}


def _healthy(name: str, inspected: Json) -> str:
    """Return the word to show if the container is healthy, "" if that is not known yet.  Raises Fault otherwise."""
    state = inspected["State"]
    if state["Status"] in ("exited", "dead"):
        raise Fault(f"dependency failed to start: container {name} exited ({state['ExitCode']})")
    health = state.get("Health")
    if not health or health.get("Status") == "none":
        raise Fault(f"dependency failed to start: container {name} has no healthcheck configured")
    if health["Status"] == "unhealthy":
        raise Fault(f"dependency failed to start: container {name} is unhealthy")
    return "Healthy" if health["Status"] == "healthy" else ""


def _running_or_healthy(name: str, inspected: Json) -> str:
    state = inspected["State"]
    health = (state.get("Health") or {}).get("Status", "none")
    if state["Status"] in ("exited", "dead"):
        raise Fault(f"container {name} exited ({state['ExitCode']})")
    if health == "none":
        return "Healthy" if state["Status"] == "running" and _runs_for_a_while(state) else ""
    if health == "unhealthy":
        raise Fault(f"container {name} is unhealthy")
    return "Healthy" if health == "healthy" else ""


def _runs_for_a_while(state: Json) -> bool:
    """Return whether the container did not end right after its start, which is no success."""
    from netd.cli.output.human import seconds_of

    return abs(time.time() - seconds_of(state["StartedAt"])) > _SHORTEST_LIFE


def _completed(name: str, inspected: Json) -> str:
    state = inspected["State"]
    if state["Status"] not in ("exited", "dead"):
        return ""
    if state["ExitCode"]:
        raise Fault(f'service "{_service(inspected)}" didn\'t complete successfully: exit {state["ExitCode"]}')
    return "Exited"


def _service(inspected: Json) -> str:
    return str(inspected["Config"]["Labels"].get("com.docker.compose.service", ""))


_CONDITIONS = {
    "service_healthy": _healthy,
    RUNNING_OR_HEALTHY: _running_or_healthy,
    "service_completed_successfully": _completed,
}
