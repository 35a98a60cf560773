"""Conversion of ``-v``, ``--mount`` and ``--tmpfs`` into fields of the API.

Pure: the current directory for relative paths is an argument.  Functions raise ValueError with the reason to show.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_MODE_CLASSES = (
    ("rw", "ro"),
    ("z", "Z"),
    ("private", "rprivate", "shared", "rshared", "slave", "rslave"),
    ("nocopy",),
    ("consistent", "cached", "delegated"),
)
_TYPES = ("bind", "volume", "tmpfs", "image")
_KEY_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_RECURSIVE = {"enabled": {}, "disabled": {"NonRecursive": True}, "writable": {"ReadOnlyNonRecursive": True}}


def volume(word: str, cwd: str) -> tuple[str, bool]:
    """Return the entry, and whether it has a source (for ``Binds``) or only a target (for ``Volumes``).

    A source that begins with ``/`` or ``.`` is a path of the host, the latter relative to *cwd*; any other is the name
    of a volume.
    """
    parts = word.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError("use [SOURCE:]TARGET[:OPTIONS]")
    if len(parts) == 1:
        return _target(word), False
    source, target, *options = parts
    if source.startswith("."):
        source = os.path.normpath(os.path.join(cwd, source))
    _modes(options[0] if options else "", bind=source.startswith("/"))
    return ":".join([source, _target(target), *options]), True


def tmpfs(word: str) -> tuple[str, str]:
    """Return target and options of one ``--tmpfs``."""
    target, _, options = word.partition(":")
    return _target(target), options


def mount(word: str, cwd: str) -> dict[str, Any]:
    """Return the entry of ``Mounts`` for one ``--mount``: comma-separated ``key=value``, quoted as in CSV."""
    entry: dict[str, Any] = {"Type": "volume"}
    type_options: list[tuple[str, str]] = []
    for key, value in _fields(word):
        if key in _SETTERS:
            _SETTERS[key](entry, value)
        elif key in _TYPE_OPTIONS:
            type_options.append((key, value))
        else:
            raise ValueError(f"unexpected key '{key}'")
    for key, value in type_options:
        _set_type_option(entry, key, value)
    return _validated(entry, cwd)


def _target(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"the target in the container must be an absolute path, not '{path}'")
    if os.path.normpath(path).strip("/") == "":
        raise ValueError("the target in the container cannot be '/'")
    return path


def _modes(text: str, bind: bool) -> None:
    given = text.split(",") if text else []
    for mode in given:
        allowed = [group for group in _MODE_CLASSES if mode in group]
        if not allowed:
            raise ValueError(f"invalid mode: {mode}")
        if sum(other in allowed[0] for other in given) > 1:
            raise ValueError(f"invalid mode: {text} has conflicting modes")
        if bind and mode == "nocopy":
            raise ValueError("invalid mode: nocopy applies to volumes only")
        if not bind and allowed[0] is _MODE_CLASSES[2]:
            raise ValueError(f"invalid mode: {mode} applies to paths of the host, not to volumes")


def _fields(word: str) -> Iterable[tuple[str, str]]:
    if '"' in word:
        import csv

        parts = next(csv.reader([word]))
    else:
        parts = word.split(",")
    for part in parts:
        key, equals, value = part.partition("=")
        key = _KEY_ALIASES.get(key.lower(), key.lower())
        if key != key.strip() or value != value.strip():
            raise ValueError(f"invalid field '{part}': blanks around key or value")
        if not equals and key not in ("readonly", "volume-nocopy", "bind-nonrecursive", "bind-create-src"):
            raise ValueError(f"invalid field '{part}': use key=value")
        if equals and not value:
            raise ValueError(f"invalid value for '{key}': value is empty")
        yield key, value


def _bool(value: str) -> bool:
    if value not in ("", "1", "true", "0", "false"):
        raise ValueError(f"invalid value: {value} is neither true nor false")
    return value in ("", "1", "true")


def _set_type(entry: dict[str, Any], value: str) -> None:
    if value.lower() not in _TYPES:
        raise ValueError(f"unknown mount type '{value}': use bind, volume, tmpfs or image")
    entry["Type"] = value.lower()


def _set_source(entry: dict[str, Any], value: str) -> None:
    entry["Source"] = value


def _set_target(entry: dict[str, Any], value: str) -> None:
    entry["Target"] = _target(value)


def _set_read_only(entry: dict[str, Any], value: str) -> None:
    entry["ReadOnly"] = _bool(value)


def _set_consistency(entry: dict[str, Any], value: str) -> None:
    entry["Consistency"] = value


_SETTERS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "type": _set_type,
    "source": _set_source,
    "target": _set_target,
    "readonly": _set_read_only,
    "consistency": _set_consistency,
}


def _recursive(value: str) -> dict[str, Any]:
    if value == "readonly":
        return {"ReadOnlyForceRecursive": True}
    if value not in _RECURSIVE:
        raise ValueError(f"invalid value for bind-recursive: {value}")
    return dict(_RECURSIVE[value])


def _pair(value: str) -> dict[str, str]:
    key, _, text = value.partition("=")
    return {key: text}


def _driver(value: str) -> dict[str, Any]:
    return {"DriverConfig": {"Name": value}}


def _size(value: str) -> dict[str, Any]:
    from netd.cli.parse.units import memory

    return {"SizeBytes": memory(value)}


def _octal(value: str) -> dict[str, Any]:
    if not value or value.strip("01234567"):
        raise ValueError(f"invalid value for tmpfs-mode: {value} is not an octal number")
    return {"Mode": int(value, 8)}


# The mount type of each key, and the conversion of its value into options of that type.
_TYPE_OPTIONS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "bind-propagation": ("bind", lambda value: {"Propagation": value}),
    "bind-recursive": ("bind", _recursive),
    "bind-nonrecursive": ("bind", lambda value: {"NonRecursive": _bool(value)}),
    "bind-create-src": ("bind", lambda value: {"CreateMountpoint": _bool(value)}),
    "volume-nocopy": ("volume", lambda value: {"NoCopy": _bool(value)}),
    "volume-subpath": ("volume", lambda value: {"Subpath": value}),
    "volume-driver": ("volume", _driver),
    "volume-opt": ("volume", lambda value: {"DriverConfig": {"Options": _pair(value)}}),
    "volume-label": ("volume", lambda value: {"Labels": _pair(value)}),
    "tmpfs-size": ("tmpfs", _size),
    "tmpfs-mode": ("tmpfs", _octal),
    "image-subpath": ("image", lambda value: {"Subpath": value}),
}


def _set_type_option(entry: dict[str, Any], key: str, value: str) -> None:
    kind, convert = _TYPE_OPTIONS[key]
    if kind != entry["Type"]:
        raise ValueError(f"cannot mix '{key}' with mount type '{entry['Type']}'")
    _merge(entry.setdefault(f"{kind.capitalize()}Options", {}), convert(value))


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _validated(entry: dict[str, Any], cwd: str) -> dict[str, Any]:
    kind, source = entry["Type"], entry.get("Source", "")
    if "Target" not in entry:
        raise ValueError("target is required, such as target=/data")
    if kind == "tmpfs" and source:
        raise ValueError("source cannot be given with mount type 'tmpfs'")
    if kind in ("bind", "image") and not source:
        raise ValueError(f"source is required with mount type '{kind}'")
    if kind == "bind" and not source.startswith("/"):
        if not source.startswith("."):
            raise ValueError(f"the source must be a path beginning with / or ./, not '{source}'")
        entry["Source"] = os.path.normpath(os.path.join(cwd, source))
    return entry
