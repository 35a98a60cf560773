"""Reads the files of a project one after another and merges them into one document, with ``include`` and ``extends``.

Reads by ``bounded_files`` only.  The result is canonical, validated, and all its paths are absolute.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netd.compose.errors import ComposeError
from netd.compose.files import normalization, older_versions, relative_paths, short_forms, unique
from netd.compose.files.casts import interpolate
from netd.compose.files.merging import extend, merge, remove
from netd.compose.files.schema import validate
from netd.compose.reading import bounded_files, env_files
from netd.compose.reading.interpolation import Variables
from netd.compose.reading.positions import Positions
from netd.compose.reading.yaml_reader import YamlDocument, read

Json = dict[str, Any]

INCLUDES = 20
EXTENDS = 50
FILES = 200
VALUES = 1_000_000
"""Bounds of nested includes, of a chain of ``extends``, of the files of a project, and of the values in them, where
what a service has by ``extends`` counts again."""

_SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models")


@dataclass
class Shared:
    """State of one load that all files have in common."""

    positions: Positions = field(default_factory=Positions)
    warnings: list[str] = field(default_factory=list)
    unset: dict[str, None] = field(default_factory=dict)
    documents: dict[str, list[YamlDocument]] = field(default_factory=dict)
    standard_input: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    interpolate: bool = True
    relative_to: str | None = None
    """The folder that paths are shown relative to; with None they become absolute."""
    values: int = 0

    def count(self, value: Any) -> None:
        """Add the values in *value* to those of the project.  Raises ComposeError beyond the bound."""
        rest = [value]
        while rest:
            value = rest.pop()
            self.values += 1
            if isinstance(value, (dict, list)):
                rest.extend(value.values() if isinstance(value, dict) else value)
        if self.values > VALUES:
            raise ComposeError(f"the project has more than {VALUES:,} values with its extends expanded: shorten it")

    def parsed(self, file: str) -> list[YamlDocument]:
        """Return the documents of a file, which is read once."""
        if file not in self.documents:
            if len(self.documents) >= FILES:
                raise ComposeError(f"the project has more than {FILES} files: merge some of them")
            if file == "-":
                text = bounded_files.read_standard_input()
            else:
                text = bounded_files.read_text(Path(file), bounded_files.COMPOSE_FILE, "the compose file")
            documents = read(text, file)
            for document in documents:
                self.count(document.value)
                if not isinstance(document.value, dict):
                    raise ComposeError(f"{file}: top-level object must be a mapping: add a key `services`")
            self.documents[file] = documents
        return self.documents[file]


@dataclass(frozen=True)
class Assembler:
    """Merges files that share a folder and an environment; ``include`` makes further ones."""

    shared: Shared
    folder: str
    """Absolute; relative paths of the files start there."""
    environment: Mapping[str, str]
    home: str
    included: tuple[str, ...] = ()

    def assemble(self, files: Sequence[str]) -> Json:
        """Return the merged document of *files*.  Raises ComposeError."""
        document: Json = {}
        for file in files:
            for part in self.shared.parsed(file):
                document = self._add(document, part, file)
        if not document:
            raise ComposeError(f"{files[0]}: empty compose file: add a key `services`")
        document = self._with_paths(document, self.folder)
        services = document.get("services") or {}
        return {**document, "services": {name: self._resolved(entry) for name, entry in services.items()}}

    def _with_paths(self, document: Json, folder: str) -> Json:
        """Return *document* with absolute paths, or with paths relative to the folder of the project."""
        base = self.shared.relative_to
        if base is None:
            return relative_paths.resolve(document, folder, self.home)
        return (
            document if folder == base else relative_paths.resolve(document, os.path.relpath(folder, base), self.home)
        )

    def _resolved(self, service: Any) -> Any:
        """Give variables that are only named their values, because an included file has variables of its own."""
        if isinstance(service, dict) and service.get("environment") and self.shared.interpolate:
            resolved = normalization.resolve_variables(service["environment"], self.environment)
            return {**service, "environment": resolved}
        return service

    def _add(self, document: Json, part: YamlDocument, file: str) -> Json:
        shared = self.shared
        over = self._own_document(part, file)
        over = self._extended(over, file, part)
        document = remove(document, part.resets)
        over = self._with_includes(over, file)
        document = unique.enforce(merge(document, over, shared.positions))
        validate(document, shared.positions)
        if "version" in document:
            document = {key: value for key, value in document.items() if key != "version"}
            warning = (
                f"{file}: the attribute `version` is obsolete, it will be ignored,"
                " please remove it to avoid potential confusion"
            )
            if warning not in shared.warnings:
                shared.warnings.append(warning)
        document = short_forms.expand(document, shared.positions, lenient=not shared.interpolate)
        enforced: Json = unique.enforce(document)
        return enforced

    def _own_document(self, part: YamlDocument, file: str) -> Json:
        """Return a document of a file in today's form, with its variables replaced."""
        shared = self.shared
        modern = older_versions.modernize(part.value, file, shared.warnings)
        positions = part.positions
        if "services" in modern and "services" not in part.value:
            positions = {("services", *path): position for path, position in positions.items() if path}
        shared.positions.add(positions)
        variables = Variables(self.environment, shared.unset) if shared.interpolate else None
        own: Json = interpolate(modern, variables, shared.positions, shared.warnings)
        return own

    # extends

    def _extended(self, document: Json, file: str, part: YamlDocument) -> Json:
        services = document.get("services")
        if not isinstance(services, dict):
            return document
        merged = {
            name: self._extend(name, services, file, part, ()) if isinstance(service, dict) else service
            for name, service in services.items()
        }
        return {**document, "services": merged}

    def _extend(self, name: str, services: Json, file: str, part: YamlDocument | None, trail: tuple[str, ...]) -> Json:
        service = services[name]
        if service is None:
            return {}
        source = service.get("extends") if isinstance(service, dict) else None
        if source is None:
            return service if isinstance(service, dict) else {}
        path = ("services", name, "extends")
        step = f"{name} in {file}"
        if step in trail or len(trail) >= EXTENDS:
            raise self.shared.positions.error(path, f"circular reference: {' extends '.join([*trail, step])}")
        ref = source if isinstance(source, str) else source.get("service") if isinstance(source, dict) else None
        if not isinstance(ref, str):
            raise self.shared.positions.error(path, "extends needs a service: add `service: NAME`")
        other = source.get("file") if isinstance(source, dict) else None
        known, origin = services, file
        if other is not None:
            self._refuse_remote([str(other)], path)
            origin = relative_paths.absolute(
                str(other), os.path.dirname(file) if file != "-" else self.folder, self.home
            )
            self._checked(origin, path)
            known = self._services_of(origin)
        if ref not in known:
            raise self.shared.positions.error(
                path, f"cannot extend service {name!r} in {file}: service {ref!r} not found in {origin}"
            )
        base = self._extend(ref, known, origin, part if other is None else None, (*trail, step))
        base = remove(base, [reset[2:] for reset in (part.resets if part else ()) if reset[:2] == ("services", name)])
        merged = extend(
            base, {key: value for key, value in service.items() if key != "extends"}, self.shared.positions, name
        )
        self.shared.count(merged)
        enforced: Json = unique.enforce({"services": {name: merged}})["services"][name]
        return enforced

    def _services_of(self, file: str) -> Json:
        """Return the services of another file for ``extends``, in long forms and with absolute paths."""
        positions = self.shared.positions
        document: Json = {}
        for part in self.shared.parsed(file):
            document = merge(remove(document, part.resets), self._own_document(part, file), positions)
        document = {"services": document.get("services")}
        validate(document, positions) if document["services"] else None
        expanded = short_forms.expand(document, positions, lenient=not self.shared.interpolate)
        resolved = self._with_paths(expanded, os.path.dirname(file))["services"]
        return resolved if isinstance(resolved, dict) else {}

    # include

    def _with_includes(self, document: Json, file: str) -> Json:
        entries = document.get("include")
        if entries is None:
            return document
        if not isinstance(entries, list):
            raise self.shared.positions.error(("include",), "must be a list of files")
        found = {key: value for key, value in document.items() if key != "include"}
        for index, entry in enumerate(entries):
            imported = self._include(entry, index, file)
            for section in _SECTIONS:
                found = self._import(found, imported, section)
        return found

    def _checked(self, file: str, path: tuple[str | int, ...]) -> None:
        """Read a file that another names at *path*; the error has that place."""
        try:
            self.shared.parsed(file)
        except ComposeError as error:
            if error.position:
                raise
            raise self.shared.positions.error(path, error.reason) from None

    def _refuse_remote(self, files: Sequence[str], path: tuple[str | int, ...]) -> None:
        for file in files:
            if relative_paths.is_remote(file):
                raise self.shared.positions.error(path, f"{file} is not on this host: download it, and name the file")

    def _include(self, entry: Any, index: int, file: str) -> Json:
        path = ("include", index)
        settings = {"path": entry} if isinstance(entry, str) else entry
        files = _as_list(settings.get("path")) if isinstance(settings, dict) else []
        if not files or not all(isinstance(name, str) for name in files):
            raise self.shared.positions.error(path, "an entry of include needs the path of a file: add `path: FILE`")
        self._refuse_remote(files, path)
        found = [relative_paths.absolute(name, self.folder, self.home) for name in files]
        chain = (*self.included, file)
        if found[0] in chain or len(chain) > INCLUDES:
            raise self.shared.positions.error(path, f"include cycle detected: {' includes '.join([*chain, found[0]])}")
        for name in found:
            self._checked(name, path)
        directory = settings.get("project_directory")
        folder = relative_paths.absolute(directory, self.folder, self.home) if directory else os.path.dirname(found[0])
        env = self._include_variables(_as_list(settings.get("env_file")), folder)
        return replace(self, folder=folder, environment=env, included=chain).assemble(found)

    def _include_variables(self, names: list[Any], folder: str) -> Mapping[str, str]:
        files = [Path(relative_paths.absolute(str(name), self.folder, self.home)) for name in names]
        if not files and bounded_files.is_file(Path(folder, ".env")):
            files = [Path(folder, ".env")]
        return with_env_files(self.environment, files)

    def _import(self, document: Json, imported: Json, section: str) -> Json:
        known = document.get(section) or {}
        added = imported.get(section) or {}
        for name, entry in added.items():
            if name in known and known[name] != entry:
                raise self.shared.positions.error(
                    (section, name), "conflicts with imported resource: rename one of them"
                )
        return {**document, section: {**known, **added}} if added else document


def with_env_files(environment: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """Return *environment* with the variables of *files* that it does not have; later files take precedence."""
    found: dict[str, str] = {}
    for file in files:
        text = bounded_files.read_text(file, bounded_files.ENV_FILE, "the environment file")
        values = env_files.parse(text, str(file), {**found, **environment})
        found.update({key: value for key, value in values.items() if value is not None})
    return {**found, **environment}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
