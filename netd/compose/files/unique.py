"""Drops entries of sequences that a later entry defines again.  Pure.

What identifies an entry depends on the field: the key of ``KEY=value``, the target of a mount, the ports of a port.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netd.compose.errors import Path
from netd.compose.reading.patterns import PathTable, children
from netd.compose.reading.yaml_scalars import as_text


def enforce(value: Any, path: Path = ()) -> Any:
    """Return *value* with each entry once, at the place of its first definition and with its last value."""
    if isinstance(value, dict):
        return {key: enforce(entry, (*path, key)) for key, entry in value.items()}
    identify = _IDENTITIES.get(path) if isinstance(value, list) else None
    if identify is None:
        return value
    kept: dict[Any, Any] = {}
    for index, entry in children(value):
        found = identify(entry)
        kept[("entry", index) if found is None else found] = entry
    return list(kept.values())


def _key(entry: Any) -> Any:
    return as_text(entry).partition("=")[0] if not isinstance(entry, (dict, list)) else None


def _word(entry: Any) -> Any:
    return as_text(entry) if not isinstance(entry, (dict, list)) else None


def _target(entry: Any) -> Any:
    if isinstance(entry, dict):
        return entry.get("target")
    if not isinstance(entry, str):
        return None
    parts = entry.split(":")
    return parts[0] if len(parts) == 1 else parts[1]


def _path_of(entry: Any) -> Any:
    return entry.get("path") if isinstance(entry, dict) else entry if isinstance(entry, str) else None


def _mounted_below(folder: str) -> Callable[[Any], Any]:
    def identify(entry: Any) -> Any:
        if isinstance(entry, dict):
            return entry.get("target") or f"{folder}/{entry.get('source')}"
        return f"{folder}/{entry}"

    return identify


def _port(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return as_text(entry)
    published = as_text(entry.get("published"))
    address, protocol = entry.get("host_ip") or "0.0.0.0", entry.get("protocol") or "tcp"
    mode = entry.get("mode") or "ingress"
    return f"{mode} {address}:{published}:{as_text(entry.get('target'))}/{protocol}"


_IDENTITIES: PathTable[Callable[[Any], Any]] = PathTable(
    {
        **{
            f"services.*.{field}": _key
            for field in (
                "annotations", "build.args", "build.additional_contexts", "build.labels", "cap_add", "cap_drop",
                "deploy.labels", "dns", "dns_opt", "dns_search", "environment", "labels", "links",
                "networks.*.aliases", "networks.*.link_local_ips", "profiles", "sysctls", "tmpfs", "build.tags",
                "build.platforms",
            )
        },
        "services.*.expose": _word,
        "services.*.env_file": _path_of,
        "services.*.volumes": _target,
        "services.*.devices": _target,
        "services.*.secrets": _mounted_below("/run/secrets"),
        "services.*.configs": _mounted_below(""),
        "services.*.ports": _port,
        "networks.*.labels": _key,
        "volumes.*.labels": _key,
    }
)  # fmt: skip
