"""Which files belong to a project, its folder, its variables and its name.

Looks at the file system by ``bounded_files`` only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from netd.compose.errors import ComposeError
from netd.compose.files import relative_paths
from netd.compose.files.assembly import Shared, with_env_files
from netd.compose.reading import bounded_files
from netd.compose.reading.interpolation import InvalidTemplate, MissingVariable, Variables, substitute

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml",
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)


@dataclass(frozen=True)
class ProjectFiles:
    """The files that describe a project; absolute paths, or ``-`` for standard input."""

    files: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    """The caller's variables, and those of ``.env`` or ``--env-file``."""


def find(
    files: Sequence[Path], directory: Path | None, env_files: Sequence[Path], environment: Mapping[str, str], cwd: Path
) -> ProjectFiles:
    """Return the files that the flags, the variables ``COMPOSE_*`` and a search upwards from *cwd* select.

    Raises ComposeError if there is none.
    """
    for file in files:
        if relative_paths.is_remote(str(file)):
            raise ComposeError(f"{file} is not on this host: download it, and name the file with -f")
    start = (cwd / directory) if directory else (cwd / files[0]).parent if files and str(files[0]) != "-" else cwd
    found = _variables(start, env_files, environment, cwd)
    chosen = [str(file) if str(file) == "-" else str(_clean(cwd / file)) for file in files or _named(found)]
    if not chosen:
        chosen = _search(start)
    folder = start if directory else cwd if chosen[0] == "-" else Path(chosen[0]).parent
    folder = _clean(folder)
    if folder != _clean(start):
        found = {**_variables(folder, env_files, environment, cwd), **found}
    return ProjectFiles(tuple(chosen), folder, found)


def _clean(path: Path) -> Path:
    import os.path

    return Path(os.path.normpath(path))


def _variables(folder: Path, named: Sequence[Path], environment: Mapping[str, str], cwd: Path) -> dict[str, str]:
    files = [cwd / file for file in named]
    if not files:
        files = [cwd / file for file in environment.get("COMPOSE_ENV_FILES", "").split(",") if file]
    if not files:
        disabled = environment.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true")
        files = [folder / ".env"] if not disabled and bounded_files.is_file(folder / ".env") else []
    return with_env_files(environment, files)


def _named(environment: Mapping[str, str]) -> list[Path]:
    """Return the files of ``COMPOSE_FILE``."""
    separator = environment.get("COMPOSE_PATH_SEPARATOR") or ":"
    return [Path(name) for name in environment.get("COMPOSE_FILE", "").split(separator) if name]


def _search(start: Path) -> list[str]:
    for folder in (_clean(start), *_clean(start).parents):
        main = [str(folder / name) for name in NAMES if bounded_files.is_file(folder / name)]
        if main:
            overrides = [str(folder / name) for name in OVERRIDES if bounded_files.is_file(folder / name)]
            return [main[0], *overrides[:1]]
    raise ComposeError(f"no configuration file provided: not found: create {NAMES[0]} or name a file with -f")


def project_name(given: str | None, project: ProjectFiles, shared: Shared) -> str:
    """Return the name of a project: of the flag, of COMPOSE_PROJECT_NAME, of the files, or of the folder."""
    name = given or project.environment.get("COMPOSE_PROJECT_NAME") or _name_in_files(project, shared)
    if not name:
        name = normalized(project.folder.name)
        if not name:
            raise ComposeError("project name must not be empty: name the project with -p")
    if not _NAME.fullmatch(name):
        raise ComposeError(
            f"invalid project name {name!r}: must consist only of lowercase alphanumeric characters, hyphens, and"
            " underscores as well as start with a letter or number"
        )
    return name


def normalized(text: str) -> str:
    """Return a valid project name from a folder's name; empty if it has no valid character."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def _name_in_files(project: ProjectFiles, shared: Shared) -> str:
    found = ""
    for file in project.files:
        for document in shared.parsed(file):
            name = document.value.get("name")
            if isinstance(name, str) and name:
                try:
                    found = substitute(name, Variables(project.environment, shared.unset))
                except (InvalidTemplate, MissingVariable) as error:
                    raise ComposeError(str(error), ("name",), document.positions.get(("name",))) from None
    return normalized(found)
