"""Variables and labels that services take from files: ``env_file`` and ``label_file``.

Reads by ``bounded_files`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netd.compose.errors import ComposeError
from netd.compose.files.field_types import pairs
from netd.compose.files.normalization import resolve_variables
from netd.compose.reading import bounded_files, env_files
from netd.compose.reading.positions import Positions

Json = dict[str, Any]


def resolve(name: str, service: Json, environment: Mapping[str, str], positions: Positions) -> Json:
    """Return *service* with the content of its files in ``environment`` and ``labels``, and without the file names.

    Its own entries take precedence, and later files over earlier ones.  Raises ComposeError for a required file that
    does not exist.
    """
    found = {key: value for key, value in service.items() if key not in ("env_file", "label_file")}
    own = resolve_variables(service.get("environment"), environment)
    values: dict[str, str | None] = {}
    for index, entry in enumerate(service.get("env_file") or ()):
        try:
            values.update(_variables(entry, {**_set(values), **_set(own), **environment}))
        except ComposeError as error:
            if error.position:
                raise
            raise positions.error(("services", name, "env_file", index), error.reason) from None
    if values or own:
        found["environment"] = {**values, **own}
    labels: dict[str, str | None] = {}
    for index, file in enumerate(service.get("label_file") or ()):
        try:
            labels.update(
                env_files.parse(bounded_files.read_text(Path(file), bounded_files.ENV_FILE, "the label file"), file, {})
            )
        except ComposeError as error:
            raise positions.error(("services", name, "label_file", index), error.reason) from None
    if labels:
        found["labels"] = {**labels, **(pairs(service.get("labels") or {}) or {})}
    return found


def _set(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def _variables(entry: Json, environment: Mapping[str, str]) -> dict[str, str | None]:
    file = Path(entry["path"])
    if not entry.get("required", True) and not bounded_files.is_file(file):
        return {}
    text = bounded_files.read_text(file, bounded_files.ENV_FILE, "the env file")
    if entry.get("format") == "raw":
        return _raw(text)
    return dict(_set(env_files.parse(text, str(file), environment)))


def _raw(text: str) -> dict[str, str | None]:
    """Return the variables of a file in the format ``raw``: lines KEY=VALUE, without quotes and references."""
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            key, equals, value = line.partition("=")
            found[key.strip()] = value if equals else None
    return found
