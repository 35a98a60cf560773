"""Brings files of older versions, and lists where mappings are expected, into the form of today's specification.  Pure.

Version 1 has no ``services``: each key of the file is a service.
"""

from __future__ import annotations

from typing import Any

from netd.compose.reading.yaml_scalars import as_text

Json = dict[str, Any]

_SECTIONS = {"services", "networks", "volumes", "secrets", "configs", "include", "models", "name", "version"}


def modernize(document: Json, file: str, warnings: list[str]) -> Json:
    """Return *document* in today's form, with a warning for what was converted."""
    if _is_version_1(document):
        warnings.append(
            f"{file}: the file has no key `services` and is read as version 1: move its services below that key"
        )
        extensions = {key: value for key, value in document.items() if key.startswith("x-")}
        document = {
            **extensions,
            "services": {key: _version_1_service(entry) for key, entry in document.items() if key not in extensions},
        }
    if isinstance(document.get("version"), (int, float)) and not isinstance(document["version"], bool):
        document = {**document, "version": as_text(document["version"])}
    for section in ("networks", "volumes"):
        if section in document:
            document = {**document, section: _as_mapping(document[section])}
    services = document.get("services")
    if isinstance(services, dict):
        document = {**document, "services": {key: _service(entry) for key, entry in services.items()}}
    return document


def _is_version_1(document: Json) -> bool:
    services = {key: value for key, value in document.items() if not key.startswith("x-")}
    return (
        bool(services)
        and not _SECTIONS & services.keys()
        and all(
            isinstance(value, dict) and ({"image", "build", "extends"} & value.keys()) for value in services.values()
        )
    )


def _version_1_service(service: Json) -> Json:
    """Return a service of version 1 with today's keys for ``net``, ``log_driver``, ``log_opt`` and ``dockerfile``."""
    found = dict(service)
    if "net" in found:
        mode = found.pop("net")
        found["network_mode"] = mode
    if "log_driver" in found or "log_opt" in found:
        parts = {"driver": found.pop("log_driver", None), "options": found.pop("log_opt", None)}
        found["logging"] = {key: value for key, value in parts.items() if value is not None}
    if "dockerfile" in found:
        build = found.get("build", ".")
        context = build if isinstance(build, dict) else {"context": build}
        found["build"] = {**context, "dockerfile": found.pop("dockerfile")}
    return found


def _service(service: Any) -> Any:
    if isinstance(service, dict) and isinstance(service.get("networks"), list):
        networks = service["networks"]
        if any(isinstance(entry, dict) for entry in networks):
            return {**service, "networks": _as_mapping(networks)}
    return service


def _as_mapping(value: Any) -> Any:
    """Return ``{name: settings}`` for a list of names and of mappings with one key, ``- front-end:``."""
    if not isinstance(value, list):
        return value
    found: Json = {}
    for entry in value:
        if isinstance(entry, str):
            found[entry] = None
        elif isinstance(entry, dict):
            found.update(entry)
        else:
            return value
    return found
