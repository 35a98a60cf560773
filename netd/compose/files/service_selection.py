"""Which services of a project are enabled by profiles and by name, and which objects they use.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from netd.compose.errors import ComposeError
from netd.nearest_names import nearest

Json = dict[str, Any]


def select(document: Json, profiles: Sequence[str], names: Sequence[str]) -> tuple[Json, Json]:
    """Return *document* with the enabled services, and the services that are disabled.

    With *names*, only those and what they depend on are selected; their own profiles are enabled.  Raises
    ComposeError for a name that is not in the project.
    """
    services: Json = document["services"]
    for name in names:
        if name not in services:
            raise ComposeError(_unknown(name, services))
    active = {*profiles, *(profile for name in names for profile in services[name].get("profiles") or ())}
    enabled = {name: entry for name, entry in services.items() if _is_enabled(entry, active) or name in names}
    if names:
        wanted = _with_dependencies(names, enabled)
        enabled = {name: entry for name, entry in enabled.items() if name in wanted}
    enabled = {name: _without_disabled(entry, enabled) for name, entry in enabled.items()}
    disabled = {name: entry for name, entry in services.items() if name not in enabled}
    return used_only({**document, "services": enabled}), disabled


def _is_enabled(service: Json, active: Iterable[str]) -> bool:
    wanted = service.get("profiles") or ()
    return not wanted or "*" in active or any(profile in active for profile in wanted)


def _with_dependencies(names: Sequence[str], services: Json) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in found or name not in services:
            continue
        found.add(name)
        pending += services[name].get("depends_on") or ()
    return found


def _without_disabled(service: Json, enabled: Json) -> Json:
    """Drop dependencies on disabled services that are not required."""
    dependencies = service.get("depends_on")
    if not dependencies:
        return service
    kept = {name: entry for name, entry in dependencies.items() if name in enabled or entry.get("required", True)}
    return {**service, "depends_on": kept}


def used_only(document: Json) -> Json:
    """Return *document* without networks, volumes, secrets and configs that no enabled service uses."""
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set(), "configs": set()}
    for service in document["services"].values():
        used["networks"].update(service.get("networks") or ())
        for volume in service.get("volumes") or ():
            if volume.get("type") == "volume" and volume.get("source"):
                used["volumes"].add(volume["source"])
        for section in ("secrets", "configs"):
            used[section].update(entry["source"] for entry in service.get(section) or ())
        used["secrets"].update(entry["source"] for entry in (service.get("build") or {}).get("secrets") or ())
    return {
        **document,
        **{
            section: {name: entry for name, entry in (document.get(section) or {}).items() if name in names}
            for section, names in used.items()
        },
    }


def _unknown(name: str, services: Json) -> str:
    near = nearest(name, services)
    return f"no such service: {name}" + (f": did you mean {near!r}?" if near else "")
