"""The configuration file: TOML values become settings, or an error that names file, key, fault and remedy."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from netd.common.config import Definition, definitions, types
from netd.common.errors import BadRequest
from netd.nearest_names import nearest

USUAL_PATH = Path("/etc/netd/netd.toml")


def read(path: Path, *, required: bool) -> dict[str, Any]:
    """Return the settings that the file sets; none if it does not exist, unless *required*.  Raises BadRequest."""
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise BadRequest(f"the configuration file {path} does not exist") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadRequest(f"the configuration file {path} cannot be read: {error}") from error
    known = definitions()
    return {key: _value(f"{path}: {key}", known, key, value) for key, value in found.items()}


def _value(where: str, known: dict[str, Definition], key: str, value: object) -> Any:
    if key not in known:
        near = nearest(key, known)
        raise BadRequest(
            f"{where.removesuffix(f': {key}')}: unknown setting {key}" + (f"; did you mean {near}?" if near else "")
        )
    wanted, definition = types()[key], known[key]
    if wanted.startswith("dict"):
        return _domains(where, key, value)
    if wanted.startswith("tuple"):
        return _list(where, definition, value)
    if wanted.startswith("int"):
        if type(value) is not int or value < definition.least:
            raise BadRequest(f"{where} must be a whole number of {definition.least} or more")
        if definition.most and value > definition.most:
            raise BadRequest(f"{where} must be a whole number of {definition.most} or less")
        return value
    if not isinstance(value, str):
        raise BadRequest(f"{where} must be a string")
    if definition.choices and value not in definition.choices:
        raise BadRequest(f"{where} must be one of {', '.join(definition.choices)}")
    return Path(value) if wanted == "Path" else value


def _list(where: str, definition: Definition, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest(f"{where} must be a list of strings")
    wrong = next((item for item in value if definition.addresses and not _is_address(item)), None)
    if wrong is not None:
        raise BadRequest(f"{where}: {wrong!r} is not an IP address")
    return tuple(value)


def _domains(where: str, key: str, value: object) -> dict[str, tuple[str, ...]]:
    """Parse a table of name servers by domain."""
    if not isinstance(value, dict):
        raise BadRequest(f'{where} must be a table, as {key} = {{ "corp.example" = ["192.0.2.53"] }}')
    for domain, servers in value.items():
        labels = domain.removesuffix(".").split(".")
        if not all(0 < len(label) < 64 and label.split() == [label] for label in labels):
            raise BadRequest(f"{where}: {domain!r} is no domain")
        if not isinstance(servers, list) or not servers or not all(map(_is_address, servers)):
            raise BadRequest(f"{where}: {domain} must have a list of name servers' IP addresses")
    return {domain: tuple(servers) for domain, servers in value.items()}


def _is_address(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False
