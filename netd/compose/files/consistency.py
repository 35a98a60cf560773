"""Checks of a whole project: references between services and objects, exclusive settings, cycles.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from netd.compose.errors import Path
from netd.compose.reading.positions import Positions
from netd.nearest_names import nearest

Json = dict[str, Any]
Fault = tuple[Path, str]


def check(document: Json, services: Json, declared: Json, positions: Positions) -> None:
    """Raise ComposeError for the first fault.

    *document* is canonical and has the enabled services and what they use; *services* also has the disabled ones, and
    *declared* all objects of the files.
    """
    document = {**document, **{key: declared.get(key) or {} for key in ("networks", "volumes", "secrets", "configs")}}
    for name, service in document["services"].items():
        for rule in _RULES:
            for path, reason in rule(name, service, document, services):
                raise positions.error(("services", name, *path), reason)
    for section in ("secrets", "configs"):
        for name, entry in (document.get(section) or {}).items():
            _check_file_object(section, name, entry, positions)
    for name, entry in (document.get("volumes") or {}).items():
        _check_external(name, entry, positions)
    _check_cycles(document["services"], positions)


def _source(name: str, service: Json, _document: Json, _services: Json) -> Iterator[Fault]:
    if not service.get("image") and not service.get("build") and not service.get("provider"):
        yield (), f"service {name!r} has neither an image nor a build context specified: add image or build"
    build = service.get("build") or {}
    if build.get("dockerfile_inline") and build.get("dockerfile"):
        yield ("build",), "dockerfile and dockerfile_inline are mutually exclusive: delete one of the two"


def _networks(name: str, service: Json, document: Json, _services: Json) -> Iterator[Fault]:
    if service.get("network_mode") and service.get("networks"):
        yield ("networks",), f"service {name} declares mutually exclusive `network_mode` and `networks`"
    for network in service.get("networks") or ():
        if network not in (document.get("networks") or {}):
            yield (
                ("networks", network),
                f"service {name!r} refers to undefined network {network}: {_near(network, document, 'networks')}",
            )


def _dependencies(name: str, service: Json, document: Json, services: Json) -> Iterator[Fault]:
    for other, settings in (service.get("depends_on") or {}).items():
        if other == name:
            yield ("depends_on", other), f"service {name!r} depends on itself: delete the entry"
        if other not in document["services"] and settings.get("required", True):
            profiles = (services.get(other) or {}).get("profiles")
            enable = f"enable its profile with --profile {profiles[0]}" if profiles else ""
            near = enable or _near(other, document, "services")
            yield ("depends_on", other), f"service {name!r} depends on undefined service {other!r}: {near}"


def _volumes(name: str, service: Json, document: Json, _services: Json) -> Iterator[Fault]:
    for index, volume in enumerate(service.get("volumes") or ()):
        source = volume.get("source")
        if volume.get("type") == "volume" and source and source not in (document.get("volumes") or {}):
            yield (
                ("volumes", index),
                f"service {name!r} refers to undefined volume {source}: {_near(source, document, 'volumes')}",
            )
        if volume.get("type") == "bind" and not source:
            yield ("volumes", index), "a bind mount needs a source: add it"


def _targets(_name: str, service: Json, _document: Json, _services: Json) -> Iterator[Fault]:
    taken: dict[str, str] = {}
    for index, word in enumerate(service.get("tmpfs") or ()):
        target = word.partition(":")[0]
        if target in taken:
            yield ("tmpfs", index), f"target {target} already mounted as {taken[target]}: delete one of the two"
        taken[target] = f"tmpfs[{index}]"
    for index, volume in enumerate(service.get("volumes") or ()):
        target = volume.get("target")
        if target in taken:
            yield ("volumes", index), f"target {target} already mounted as {taken[target]}: delete one of the two"
        taken[target] = f"volumes[{index}]"


def _file_references(name: str, service: Json, document: Json, _services: Json) -> Iterator[Fault]:
    build = (service.get("build") or {}).get("secrets") or ()
    for section, kind, entries in (
        ("secrets", "secret", [*(service.get("secrets") or ()), *build]),
        ("configs", "config", service.get("configs") or ()),
    ):
        for index, entry in enumerate(entries):
            source = str(entry.get("source"))
            if source not in (document.get(section) or {}):
                yield (
                    (section, index),
                    f"service {name!r} refers to undefined {kind} {source}: {_near(source, document, section)}",
                )


def _health(name: str, service: Json, _document: Json, _services: Json) -> Iterator[Fault]:
    test = (service.get("healthcheck") or {}).get("test")
    if test and test[0] not in ("CMD", "CMD-SHELL", "NONE"):
        yield (
            ("healthcheck", "test"),
            f'service {name!r}: healthcheck.test must start either by "CMD", "CMD-SHELL" or "NONE"',
        )


def _limits(_name: str, service: Json, _document: Json, _services: Json) -> Iterator[Fault]:
    deploy = service.get("deploy") or {}
    resources = deploy.get("resources") or {}
    limits, reserved = resources.get("limits") or {}, resources.get("reservations") or {}
    for key, other, path in (
        ("mem_limit", limits.get("memory"), "deploy.resources.limits.memory"),
        ("mem_reservation", reserved.get("memory"), "deploy.resources.reservations.memory"),
        ("cpus", limits.get("cpus"), "deploy.resources.limits.cpus"),
        ("pids_limit", limits.get("pids"), "deploy.resources.limits.pids"),
        ("scale", deploy.get("replicas"), "deploy.replicas"),
    ):
        if key in service and other is not None and service[key] != other:
            yield (key,), f"can't set distinct values on '{key}' and '{path}': delete one of the two"


def _container_name(name: str, service: Json, _document: Json, _services: Json) -> Iterator[Fault]:
    replicas = service.get("scale", (service.get("deploy") or {}).get("replicas", 1))
    if replicas < 0:
        yield ("scale",), f"the number of containers must be 0 or more, not {replicas}"
    if service.get("container_name") and replicas > 1:
        yield (
            ("container_name",),
            f"can't set container_name and {replicas} replicas of {name}, as container name must be unique",
        )


_RULES: tuple[Callable[[str, Json, Json, Json], Iterator[Fault]], ...] = (
    _source, _networks, _dependencies, _volumes, _targets, _file_references, _health, _limits, _container_name,
)  # fmt: skip


def _near(name: str, document: Json, section: str) -> str:
    near = nearest(name, document.get(section) or {})
    return f"did you mean {near!r}?" if near else f"define it below {section}"


def _check_file_object(section: str, name: str, entry: Json, positions: Positions) -> None:
    keys = ("file", "environment", "content") if section == "configs" else ("file", "environment")
    count = sum(key in entry for key in keys)
    if count > 1:
        raise positions.error((section, name), f"{'|'.join(keys)} attributes are mutually exclusive: keep one of them")
    if not count and not entry.get("external") and "driver" not in entry:
        raise positions.error((section, name), f"one of {'|'.join(keys)} must be set")
    if section == "secrets" and "content" in entry:
        raise positions.error((section, name, "content"), "content is not allowed for secrets: use file or environment")


def _check_external(name: str, entry: Json, positions: Positions) -> None:
    if not entry.get("external"):
        return
    extra = sorted(key for key, value in entry.items() if key not in ("name", "external") and value not in (None, {}))
    if extra:
        raise positions.error(
            ("volumes", name, extra[0]), f'conflicting parameters "external" and {extra[0]!r} specified: delete one'
        )


def _check_cycles(services: Json, positions: Positions) -> None:
    done: set[str] = set()
    for start in services:
        trail: list[str] = []
        pending: list[tuple[str, int]] = [(start, 0)]
        while pending:
            name, depth = pending.pop()
            del trail[depth:]
            if name in trail:
                circle = " -> ".join([*trail[trail.index(name) :], name])
                raise positions.error(("services", trail[-1], "depends_on"), f"dependency cycle detected: {circle}")
            if name in done and name != start:
                continue
            trail.append(name)
            done.add(name)
            others = (services.get(name) or {}).get("depends_on") or ()
            pending += [(other, depth + 1) for other in others if other in services]
