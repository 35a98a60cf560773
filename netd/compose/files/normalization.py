"""Adds what a project implies: default network, dependencies, build defaults, names of its objects.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netd.compose.reading.yaml_scalars import as_text

Json = dict[str, Any]

_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def complete(document: Json) -> Json:
    """Return *document* with what mounts leave out: targets of secrets, and clean paths of volumes."""
    services = {}
    for key, value in (document.get("services") or {}).items():
        services[key] = found = dict(value or {})
        for secret in found.get("secrets") or ():
            secret.setdefault("target", f"/run/secrets/{secret.get('source')}")
        if found.get("volumes"):
            found["volumes"] = [_volume(volume) for volume in found["volumes"]]
    return {**document, "services": services}


def normalize(document: Json, name: str, environment: Mapping[str, str], *, resolve: bool = True) -> Json:
    """Return *document* with its name and implicit settings.

    *environment* has the values of variables that are only named; without *resolve* those of services stay
    as they are written.
    """
    services = {key: _service(value, environment, resolve) for key, value in document["services"].items()}
    networks = dict(document.get("networks") or {})
    if any("default" in (service.get("networks") or {}) for service in services.values()):
        networks.setdefault("default", None)
    found = {**document, "name": name, "services": services, "networks": networks}
    for section in ("networks", "volumes", "secrets", "configs"):
        found[section] = {key: _named(key, value or {}, name) for key, value in (found.get(section) or {}).items()}
    return found


def _named(key: str, value: Json, project: str) -> Json:
    if value.get("name"):
        return value
    return {**value, "name": key if value.get("external") else f"{project}_{key}"}


def _service(service: Json, environment: Mapping[str, str], resolve: bool) -> Json:
    found = dict(service)
    if not found.get("networks") and not found.get("network_mode") and "provider" not in found:
        found["networks"] = {"default": None}
    if found.get("pull_policy") == "if_not_present":
        found["pull_policy"] = "missing"
    if found.get("build") is not None:
        found["build"] = _build(found["build"], environment, resolve)
    if "environment" in found and resolve:
        found["environment"] = resolve_variables(found["environment"], environment)
    dependencies = {**_implied(found), **(found.get("depends_on") or {})}
    if dependencies:
        found["depends_on"] = dependencies
    return found


def _build(build: Json, environment: Mapping[str, str], resolve: bool) -> Json:
    found = {**build, "context": build.get("context") or "."}
    if not found.get("dockerfile") and not found.get("dockerfile_inline"):
        found["dockerfile"] = "Dockerfile"
    if "args" in found:
        args = resolve_variables(found["args"], environment)
        known: Any = {key: value for key, value in args.items() if value is not None}
        if not resolve:
            written = found["args"]
            known = (
                [f"{key}={value}" for key, value in known.items()]
                if isinstance(written, list)
                else {key: written[key] if written[key] is not None else value for key, value in known.items()}
            )
        found["args"] = known
    return found


def _volume(volume: Json) -> Json:
    import posixpath

    target = volume.get("target")
    return {**volume, "target": posixpath.normpath(target)} if isinstance(target, str) and target else volume


def resolve_variables(value: Any, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return variables as a mapping; those without a value take it from *environment*, or stay None."""
    found: dict[str, str | None] = {}
    if isinstance(value, dict):
        found = {key: None if entry is None else as_text(entry) for key, entry in value.items()}
    else:
        for entry in value or ():
            key, equals, rest = as_text(entry).partition("=")
            found[key] = rest if equals else None
    return {key: environment.get(key) if entry is None else entry for key, entry in found.items()}


def _implied(service: Json) -> Json:
    """Return the dependencies that other settings imply; the service restarts with those it shares something with."""
    found: Json = {}
    for link in service.get("links") or ():
        found[link.partition(":")[0]] = {"condition": "service_started", "restart": True, "required": True}
    for key in _NAMESPACES:
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service" and name:
            found.setdefault(name, {"condition": "service_started", "restart": True, "required": True})
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            found.setdefault(source.partition(":")[0], {"condition": "service_started", "required": True})
    return found
