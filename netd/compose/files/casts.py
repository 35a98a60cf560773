"""Interpolates a whole document, and converts the texts of fields that are no strings.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netd.compose.errors import Path
from netd.compose.reading.interpolation import InvalidTemplate, MissingVariable, Variables, substitute
from netd.compose.reading.patterns import PathTable
from netd.compose.reading.positions import Positions

_YES = frozenset({"y", "yes", "true", "on"})
_NO = frozenset({"n", "no", "false", "off"})


def _integer(text: str) -> int:
    digits = text.strip().lstrip("+-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _boolean(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError(f"{text!r} is no boolean: use true or false")
    return text.lower() in _YES


_SERVICE: Mapping[Callable[[str], Any], tuple[str, ...]] = {
    _integer: (
        "cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "deploy.replicas",
        "deploy.update_config.parallelism", "deploy.rollback_config.parallelism",
        "deploy.restart_policy.max_attempts", "deploy.placement.max_replicas_per_node", "healthcheck.retries",
        "oom_score_adj", "pids_limit", "ports.*.target", "scale", "ulimits.*", "ulimits.*.hard", "ulimits.*.soft",
        "networks.*.priority", "networks.*.gw_priority",
    ),
    _number: ("cpu_percent", "cpus", "deploy.update_config.max_failure_ratio",
              "deploy.rollback_config.max_failure_ratio"),
    _boolean: (
        "init", "healthcheck.disable", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty",
        "volumes.*.read_only", "volumes.*.volume.nocopy", "volumes.*.bind.create_host_path", "attach",
        "build.no_cache", "build.pull", "build.privileged", "depends_on.*.required", "depends_on.*.restart",
    ),
}  # fmt: skip
_TOP: tuple[str, ...] = (
    "networks.*.external", "networks.*.internal", "networks.*.attachable", "networks.*.enable_ipv4",
    "networks.*.enable_ipv6", "volumes.*.external", "secrets.*.external", "configs.*.external",
)  # fmt: skip
_CASTS: PathTable[Callable[[str], Any]] = PathTable(
    {
        **{f"services.*.{field}": cast for cast, fields in _SERVICE.items() for field in fields},
        **{field: _boolean for field in _TOP},
    }
)


def interpolate(document: Any, variables: Variables | None, positions: Positions, warnings: list[str]) -> Any:
    """Return a copy of *document* with references replaced and texts converted.

    Without *variables* references stay.  Raises ComposeError at the value that is invalid.
    """
    return _walk(document, (), variables, positions, warnings)


def _walk(value: Any, path: Path, variables: Variables | None, positions: Positions, warnings: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _walk(entry, (*path, key), variables, positions, warnings) for key, entry in value.items()}
    if isinstance(value, list):
        return [_walk(entry, (*path, index), variables, positions, warnings) for index, entry in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        text = substitute(value, variables) if variables else value
        return _cast(text, path, warnings) if variables or "$" not in text else text
    except (InvalidTemplate, MissingVariable, ValueError) as error:
        raise positions.error(path, str(error)) from None


def _cast(text: str, path: Path, warnings: list[str]) -> Any:
    cast = _CASTS.get(path)
    if cast is None:
        return text
    if cast is _boolean and text.lower() in (_YES | _NO) - {"true", "false"}:
        instead = "true" if text.lower() in _YES else "false"
        warnings.append(f'"{text}" for boolean is not supported by YAML 1.2, please use `{instead}`')
    return cast(text)
