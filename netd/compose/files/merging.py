"""Merges documents by the rules of Docker's compose.  Pure; the arguments are not changed.

Mappings merge by key, sequences append (``unique`` drops duplicates afterwards), scalars are replaced; commands,
entrypoints and health tests are replaced whole; a null changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netd.compose.errors import Path
from netd.compose.reading.patterns import PathTable
from netd.compose.reading.positions import Positions
from netd.compose.reading.yaml_scalars import as_text

Json = dict[str, Any]


def merge(base: Any, over: Any, positions: Positions, path: Path = ()) -> Any:
    """Return *base* with *over* merged into it.  Raises ComposeError where the kinds of values differ."""
    if base is None or over is None:
        return base if over is None else over
    special = _SPECIAL.get(path)
    if special is not None:
        return special(base, over, positions, path)
    if isinstance(base, dict):
        if not isinstance(over, dict):
            raise positions.error(path, "a mapping cannot be overridden by another kind of value: use a mapping")
        return _mappings(base, over, positions, path)
    if isinstance(base, list):
        if not isinstance(over, list):
            raise positions.error(path, "a list cannot be overridden by another kind of value: use a list")
        return [*base, *over]
    return over


def extend(base: Json, over: Json, positions: Positions, service: str) -> Json:
    """Return the service *over* with what it inherits from *base* by ``extends``."""
    merged: Json = merge(base, over, positions, ("services", service))
    return merged


def remove(document: Any, paths: list[Path]) -> Any:
    """Return *document* without the values at *paths*; keys only, missing ones are ignored."""
    for path in paths:
        document = _without(document, path)
    return document


def _without(value: Any, path: Path) -> Any:
    if not path or not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: entry for key, entry in value.items() if key != path[0]}
    return {**value, path[0]: _without(value[path[0]], path[1:])}


def _mappings(base: Json, over: Json, positions: Positions, path: Path) -> Json:
    merged = dict(base)
    for key, value in over.items():
        if key in base and not key.startswith("x-"):
            merged[key] = merge(base[key], value, positions, (*path, key))
        else:
            merged[key] = value
    return merged


def _replace(_base: Any, over: Any, _positions: Positions, _path: Path) -> Any:
    return over


def as_sequence(value: Any) -> list[Any]:
    """Return ``["KEY=value", "KEY"]`` for a mapping, a list as it is, and anything else as a list of itself."""
    if isinstance(value, dict):
        return sorted(key if entry is None else f"{key}={as_text(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _sequences(base: Any, over: Any, _positions: Positions, _path: Path) -> Any:
    return [*as_sequence(base), *as_sequence(over)]


def _hosts(base: Any, over: Any, _positions: Positions, _path: Path) -> Any:
    """Merge host lists; an entry that is in both is kept once."""
    merged = _host_sequence(base)
    return [*merged, *(entry for entry in _host_sequence(over) if entry not in merged)]


def _host_sequence(value: Any) -> list[Any]:
    """Return ``HOST=ADDRESS`` entries; a mapping may have several addresses for a host."""
    if not isinstance(value, dict):
        return as_sequence(value)
    pairs = [(host, found if isinstance(found, list) else [found]) for host, found in sorted(value.items())]
    return [f"{host}={as_text(address)}" for host, found in pairs for address in found]


def _logging(base: Any, over: Any, positions: Positions, path: Path) -> Any:
    """Merge the options only when both name the same driver, or one names none."""
    first, second = base.get("driver"), over.get("driver")
    if first is None or second is None or first == second:
        return _mappings(base, over, positions, path)
    return over


def _build(base: Any, over: Any, positions: Positions, path: Path) -> Any:
    first, second = ({"context": build} if isinstance(build, str) else build for build in (base, over))
    return _mappings(first, second, positions, path)


def _named(default: Callable[[], Any]) -> Callable[[Any, Any, Positions, Path], Any]:
    """Return the rule for mappings that may be written as a list of names."""

    def rule(base: Any, over: Any, positions: Positions, path: Path) -> Any:
        first, second = (
            {str(name): default() for name in value} if isinstance(value, list) else value for value in (base, over)
        )
        return _mappings(first, second, positions, path)

    return rule


def _ulimit(base: Any, over: Any, positions: Positions, path: Path) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return _mappings(base, over, positions, path)
    return over


def _ipam_config(base: Any, over: Any, positions: Positions, path: Path) -> Any:
    """Merge the pools of IPAM by subnet."""
    merged: list[Any] = list(base)
    for pool in over:
        same = next((i for i, known in enumerate(merged) if known.get("subnet") == pool.get("subnet")), None)
        if same is None:
            merged.append(pool)
        else:
            merged[same] = merge(merged[same], pool, positions, (*path, same))
    return merged


_Rule = Callable[[Any, Any, Positions, Path], Any]

_SPECIAL: PathTable[_Rule] = PathTable(
    {
        **{f"services.*.{field}": _replace for field in ("command", "entrypoint", "healthcheck.test")},
        **{
            f"services.*.{field}": _sequences
            for field in (
                "annotations", "build.args", "build.additional_contexts", "build.labels", "deploy.labels", "dns",
                "dns_opt", "dns_search", "env_file", "environment", "label_file", "labels", "sysctls", "tmpfs",
            )
        },
        "services.*.build.extra_hosts": _hosts,
        "services.*.extra_hosts": _hosts,
        "services.*.build": _build,
        "services.*.depends_on": _named(lambda: {"condition": "service_started", "required": True}),
        "services.*.networks": _named(lambda: None),
        "services.*.logging": _logging,
        "services.*.ulimits.*": _ulimit,
        "networks.*.ipam.config": _ipam_config,
        "networks.*.labels": _sequences,
        "volumes.*.labels": _sequences,
    }
)  # fmt: skip
