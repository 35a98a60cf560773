"""Replaces short forms by long ones: the canonical shape that Docker's compose works on.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netd.compose.errors import Path
from netd.compose.files import mount_syntax
from netd.compose.reading.patterns import PathTable, children
from netd.compose.reading.positions import Positions

Json = dict[str, Any]


def expand(document: Json, positions: Positions, *, lenient: bool = False) -> Json:
    """Return *document* in long forms.

    With *lenient*, texts that cannot be parsed stay: they may contain references to variables.
    """
    expanded: Json = _walk(document, (), positions, lenient)
    return expanded


def _walk(value: Any, path: Path, positions: Positions, lenient: bool) -> Any:
    rule = _RULES.get(path)
    if rule is not None:
        try:
            value = rule(value)
        except ValueError as error:
            if not lenient:
                raise positions.error(path, str(error)) from None
    if isinstance(value, dict):
        return {key: _walk(entry, (*path, key), positions, lenient) for key, entry in value.items()}
    if isinstance(value, list):
        return [_walk(entry, (*path, index), positions, lenient) for index, entry in children(value)]
    return value


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _file_mount(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


def _build(value: Any) -> Any:
    return {"context": value} if isinstance(value, str) else value


def _depends_on(value: Any) -> Any:
    if isinstance(value, list):
        return {name: {"condition": "service_started", "required": True} for name in value}
    if isinstance(value, dict):
        return {
            name: {"required": True, **entry} if isinstance(entry, dict) else entry for name, entry in value.items()
        }
    return value


def _env_file(value: Any) -> Any:
    return [
        {"path": entry, "required": True} if isinstance(entry, str) else {"required": True, **entry}
        for entry in ([value] if isinstance(value, (str, dict)) else value)
    ]


def _networks(value: Any) -> Any:
    return dict.fromkeys(value) if isinstance(value, list) else value


def _volume(value: Any) -> Any:
    return mount_syntax.volume(value) if isinstance(value, str) else value


def _device(value: Any) -> Any:
    return mount_syntax.device(value) if isinstance(value, str) else value


_PORTS = 200_000
"""Bound of a service; two protocols have 131,070 ports."""


def _ports(value: Any) -> Any:
    found: list[Any] = []
    for entry in value:
        if isinstance(entry, str):
            found += mount_syntax.ports(entry)
        elif isinstance(entry, int):
            found += mount_syntax.ports(str(entry))
        else:
            found.append({"mode": "ingress", "protocol": "tcp", **entry} if isinstance(entry, dict) else entry)
        if len(found) > _PORTS:
            raise ValueError(f"more than {_PORTS:,} ports: shorten the list")
    return found


def _key_values(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return dict(entry.split("=", 1) if "=" in entry else (entry, "") for entry in value)


def _external(value: Any) -> Any:
    """Replace ``external: {name: X}`` by ``external: true`` and ``name: X``."""
    if isinstance(value, dict) and isinstance(value.get("external"), dict):
        named = value["external"].get("name")
        if "name" in value and named is not None and value["name"] != named:
            raise ValueError("name and external.name conflict; only use name")
        return {**value, "external": True, **({"name": named} if named is not None else {})}
    return value


_RULES: PathTable[Callable[[Any], Any]] = PathTable(
    {
        "services.*.build": _build,
        "services.*.build.secrets.*": _file_mount,
        "services.*.build.additional_contexts": _key_values,
        "services.*.build.ssh": _list,
        "services.*.depends_on": _depends_on,
        "services.*.env_file": _env_file,
        "services.*.label_file": _list,
        "services.*.extends": lambda value: {"service": value} if isinstance(value, str) else value,
        "services.*.networks": _networks,
        "services.*.volumes.*": _volume,
        "services.*.dns": _list,
        "services.*.dns_search": _list,
        "services.*.tmpfs": _list,
        "services.*.devices.*": _device,
        "services.*.secrets.*": _file_mount,
        "services.*.configs.*": _file_mount,
        "services.*.ports": _ports,
        **{f"{section}.*": _external for section in ("volumes", "networks", "secrets", "configs")},
    }
)
