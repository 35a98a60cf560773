"""Images of services: looked up, pulled and built as the pull policies and flags require."""

from __future__ import annotations

import time

from netd.cli.compose.acting.event_display import DONE, ERROR
from netd.cli.compose.acting.image_build import build_service
from netd.cli.compose.acting.ordered_jobs import run_all
from netd.cli.errors import ApiFault, Fault
from netd.compose import project_names as names
from netd.compose.create.engine_units import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from netd.cli.compose.acting.event_display import EventDisplay
    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext

    Json = dict[str, Any]

ALWAYS, MISSING, NEVER, BUILD = "always", "missing", "never", "build"
_POLICIES = {"": MISSING, "if_not_present": MISSING}
_PERIODS = {"daily": 24 * 3600.0, "weekly": 7 * 24 * 3600.0}


class ServiceImage:
    """The image of a service on this host; ``volumes`` are the paths that it declares as volumes."""

    def __init__(self, name: str, inspected: Json) -> None:
        self.name = name
        self.id: str = inspected["Id"]
        self.volumes: tuple[str, ...] = tuple((inspected.get("Config") or {}).get("Volumes") or ())


class ImageProvider:
    """Makes images available.  ``build`` is True to build all, False to build none, None to build what is missing."""

    def __init__(
        self,
        context: ComposeContext,
        active: ActiveProject,
        display: EventDisplay,
        *,
        build: bool | None = None,
        pull: str = "",
        quiet_pull: bool = False,
        quiet_build: bool = False,
    ) -> None:
        self._context, self._active, self._display = context, active, display
        self._engine = context.engine
        self._build, self._pull, self._quiet_pull, self._quiet_build = build, pull, quiet_pull, quiet_build

    def name(self, key: str) -> str:
        return names.image_name(self._active.name, key, self._active.project.services[key], self._context.between)

    def ensure(self, keys: Iterable[str]) -> dict[str, ServiceImage]:
        """Return the image of each service, after pulls and builds.  Raises Fault that names service and reason."""
        keys = list(keys)
        found = self._inspect(keys)
        to_build = [key for key in keys if self._must_build(key, found[key])]
        to_pull = [key for key in keys if key not in to_build and self._must_pull(key, found[key])]
        failed = self._pull_all(to_pull)
        to_build += [key for key in failed if self._active.project.services[key].build is not None]
        for key in dict.fromkeys(to_build):
            self.build(key)
        if to_build or to_pull:
            found = self._inspect(keys)
        return {key: self._available(key, found[key], failed.get(key)) for key in keys}

    def build(self, key: str, **more: Any) -> None:
        """Build the image of a service.  Raises Fault."""
        subject = f"Service {key}"
        self._display.event(subject, "Building")
        show = (lambda line: None) if self._quiet_build else self._display.line
        try:
            build_service(self._context, self._active, key, self.name(key), show, **more)
        except Fault as fault:
            self._display.event(subject, "Error", ERROR, fault.message)
            raise Fault(f'failed to build service "{key}": {fault.message}', fault.code) from None
        self._display.event(subject, "Built", DONE)

    def pull(self, image: str, platform: str = "") -> None:
        """Pull an image.  Raises Fault."""
        from netd.cli.commands.registries import auth_header, tag_or_digest

        subject = f"Image {image}"
        self._display.event(subject, "Pulling")
        query = [("fromImage", image), ("platform", platform), ("tag", "" if tag_or_digest(image) else "latest")]
        try:
            request = self._engine.send("POST", "/images/create", query=query, headers=auth_header(image))
            _read_progress(request.response().lines())
        except Fault as fault:
            self._display.event(subject, "Error", ERROR, fault.message)
            raise
        self._display.event(subject, "Pulled", DONE)

    def _inspect(self, keys: list[str]) -> dict[str, Json | None]:
        images = dict.fromkeys(self.name(key) for key in keys)
        requests = {image: self._engine.send("GET", f"/images/{image}/json") for image in images}
        answers: dict[str, Json | None] = {}
        for image, request in requests.items():
            try:
                answers[image] = request.response().json()
            except ApiFault as fault:
                if fault.status != 404:
                    raise
                answers[image] = None
        return {key: answers[self.name(key)] for key in keys}

    def _must_build(self, key: str, found: Json | None) -> bool:
        service = self._active.project.services[key]
        if service.build is None or self._build is False:
            return False
        if self._build or service.pull_policy == BUILD:
            return True
        return found is None and not (service.image and (self._pull or service.pull_policy) in _PULLING)

    def _must_pull(self, key: str, found: Json | None) -> bool:
        service = self._active.project.services[key]
        if service.build is not None and not service.image:
            return False
        policy = self._pull or _POLICIES.get(service.pull_policy, service.pull_policy)
        if policy == NEVER or (policy == BUILD and found is not None):
            return False
        if policy == ALWAYS or found is None:
            return True
        return policy not in (MISSING, BUILD) and _is_older(found, _period(key, policy))

    def _pull_all(self, keys: list[str]) -> dict[str, Fault]:
        """Pull each image once; return the faults of those that failed, by service."""
        by_image: dict[str, list[str]] = {}
        for key in keys:
            by_image.setdefault(self.name(key), []).append(key)
        failed: dict[str, Fault] = {}

        def job(image: str) -> None:
            platform = self._active.project.services[by_image[image][0]].platform
            try:
                self.pull(image, platform)
            except Fault as fault:
                failed.update(dict.fromkeys(by_image[image], fault))

        run_all(list(by_image), job, self._context.cancellation, self._context.limit)
        return failed

    def _available(self, key: str, found: Json | None, failure: Fault | None) -> ServiceImage:
        name = self.name(key)
        if failure is not None and (found is None or self._active.project.services[key].build is None):
            raise Fault(f'service "{key}": {failure.message}')
        if found is not None:
            return ServiceImage(name, found)
        if self._context.dry_run:
            return ServiceImage(name, {"Id": ""})
        raise Fault(f"service \"{key}\": No such image: {name}; pull it with 'netctl pull {name}' or build it")


_PULLING = (ALWAYS, MISSING, "if_not_present")


def _period(key: str, policy: str) -> float:
    if policy in _PERIODS:
        return _PERIODS[policy]
    try:
        return nanoseconds(policy.removeprefix("every_")) / 1e9
    except ValueError as error:
        raise Fault(f"services.{key}.pull_policy: {error}") from None


def _is_older(found: Json, seconds: float) -> bool:
    from netd.cli.output.human import seconds_of

    tagged = (found.get("Metadata") or {}).get("LastTagTime") or found.get("Created") or ""
    try:
        return time.time() - seconds_of(tagged) > seconds
    except ValueError:
        return True


def _read_progress(lines: Iterable[bytes]) -> None:
    from json import loads

    for line in lines:
        if error := loads(line).get("error"):
            raise Fault(str(error))
