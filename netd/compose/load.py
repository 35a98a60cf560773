"""Loads a project: from compose files, flags and variables to the canonical document.

The document is what ``docker compose config --format json`` prints, except that ``$`` stands for itself (that command
writes ``$$``).  Files are read by ``reading.bounded_files`` only, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netd.compose.errors import ComposeError
from netd.compose.files import (
    consistency,
    normalization,
    project_files,
    relative_paths,
    service_files,
    service_selection,
    support,
)
from netd.compose.files.assembly import Assembler, Shared
from netd.compose.files.rendering import render

Json = dict[str, Any]


@dataclass(frozen=True)
class LoadSteps:
    """Steps of a load that ``config`` can leave out; without one the document is not canonical."""

    interpolate: bool = True
    """Without it references stay, and the document has all services and objects, with the values of the files."""
    normalize: bool = True
    """Without it the project has no implied settings, such as the default network and names of objects."""
    resolve_paths: bool = True
    """Without it paths stay relative to the folder of the project."""
    check_consistency: bool = True
    """Without it references to objects that do not exist are accepted."""


ALL_STEPS = LoadSteps()


@dataclass(frozen=True)
class LoadedProject:
    """A project as it is to be run."""

    document: Json
    """``name``, ``services``, ``networks``, ``volumes``, ``secrets``, ``configs``; only what is enabled and used."""
    warnings: list[str]
    """Sentences for the user, in order, each once."""
    files: tuple[Path, ...]
    working_dir: Path
    disabled: Json = field(default_factory=dict)
    """Services whose profiles are off, or that were not selected, in the canonical form."""
    profiles: tuple[str, ...] = ()
    """All profiles that the services name, sorted."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's variables with those of ``.env``; secrets and configs with ``environment`` take values from it."""


def load_project(
    files: Sequence[Path],
    *,
    project_name: str | None,
    project_directory: Path | None,
    profiles: Sequence[str],
    env_files: Sequence[Path],
    environment: Mapping[str, str],
    services: Sequence[str] = (),
    steps: LoadSteps = ALL_STEPS,
    allow_unsupported: bool = False,
) -> LoadedProject:
    """Return the project of *files*, or of the files that are found from the current folder upwards.

    *environment* has the caller's variables.  With *services*, those and what they depend on are enabled, whatever
    their profiles.  Settings that netd cannot honour are refused, or with *allow_unsupported* become warnings.
    Raises ComposeError.
    """
    cwd = Path.cwd()
    found = project_files.find(files, project_directory, env_files, environment, cwd)
    relative_to = None if steps.resolve_paths else str(found.folder)
    shared = Shared(interpolate=steps.interpolate, relative_to=relative_to)
    name = project_files.project_name(project_name, found, shared)
    variables = {**found.environment, "COMPOSE_PROJECT_NAME": name}
    home = environment.get("HOME") or "/root"
    folder = str(found.folder)
    document = Assembler(shared, folder, variables, home).assemble(found.files)
    document = normalization.complete(document)
    if steps.normalize:
        document = normalization.normalize(document, name, variables, resolve=steps.interpolate)
    if steps.resolve_paths:
        document = relative_paths.resolve(document, folder, home)
    chosen = profiles or [word for word in variables.get("COMPOSE_PROFILES", "").split(",") if word]
    if not steps.interpolate:
        return _result({key: value for key, value in document.items() if value}, {}, shared, found, variables)
    declared = document = {**document, "name": name}
    for section in () if steps.normalize else ("networks", "volumes", "secrets", "configs"):
        document[section] = {key: value or {} for key, value in (document.get(section) or {}).items()}
    document, disabled = service_selection.select(document, chosen, services)
    positions = shared.positions
    document["services"] = {
        key: service_files.resolve(key, service, variables, positions) for key, service in document["services"].items()
    }
    canonical = render(document, positions)
    off = render({"name": name, "services": disabled}, positions)["services"]
    if steps.check_consistency:
        consistency.check(canonical, {**canonical["services"], **off}, declared, positions)
    for refusal in support.refusals(canonical, positions):
        if not allow_unsupported:
            raise refusal
        shared.warnings.append(str(refusal))
    shared.warnings += support.warnings(canonical)
    return _result(canonical, off, shared, found, variables)


def _result(
    document: Json, disabled: Json, shared: Shared, found: project_files.ProjectFiles, variables: Mapping[str, str]
) -> LoadedProject:
    unset = [f'The "{name}" variable is not set. Defaulting to a blank string.' for name in shared.unset]
    everything = [*(document.get("services") or {}).values(), *disabled.values()]
    return LoadedProject(
        document=document,
        warnings=list(dict.fromkeys([*unset, *shared.warnings])),
        files=tuple(Path(file) for file in found.files),
        working_dir=found.folder,
        disabled=disabled,
        profiles=tuple(sorted({profile for service in everything for profile in service.get("profiles") or ()})),
        environment=variables,
    )


__all__ = ["ComposeError", "LoadSteps", "LoadedProject", "load_project"]
