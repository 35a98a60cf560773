"""What ``-v``, ``--mount`` and ``--tmpfs`` take, and what it means in the words of the API.

Pure but for the current directory, which relative paths start from.  A ValueError's text is the reason to show.
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
_SAME = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_RECURSIVE = {"enabled": {}, "disabled": {"NonRecursive": True}, "writable": {"ReadOnlyNonRecursive": True}}


def volume(word: str, here: str) -> tuple[str, bool]:
    """Return what to ask for and whether it names a source (``Binds``) or only a place (``Volumes``).

    A source that begins with ``/`` or ``.`` is a path of the host, the latter from *here*; any other is the name of
    a volume.
    """
    parts = word.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError("say [SOURCE:]TARGET[:OPTIONS]")
    if len(parts) == 1:
        return _place(word), False
    source, place, *options = parts
    if source.startswith("."):
        source = os.path.normpath(os.path.join(here, source))
    _modes(options[0] if options else "", bind=source.startswith("/"))
    return ":".join([source, _place(place), *options]), True


def tmpfs(word: str) -> tuple[str, str]:
    """Return the place and the options of one ``--tmpfs``."""
    place, _, options = word.partition(":")
    return _place(place), options


def mount(word: str, here: str) -> dict[str, Any]:
    """Return the entry of ``Mounts`` for one ``--mount``: comma-separated ``key=value``, quoted as in CSV."""
    found: dict[str, Any] = {"Type": "volume"}
    seen: list[tuple[str, str]] = []
    for key, value in _fields(word):
        if key in _SETTERS:
            _SETTERS[key](found, value)
        elif key in _OF:
            seen.append((key, value))
        else:
            raise ValueError(f"unexpected key '{key}'")
    for key, value in seen:
        _detail(found, key, value)
    return _complete(found, here)


def _place(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"the place in the container must be an absolute path, not '{path}'")
    if os.path.normpath(path).strip("/") == "":
        raise ValueError("the place in the container cannot be '/'")
    return path


def _modes(text: str, bind: bool) -> None:
    given = text.split(",") if text else []
    for mode in given:
        allowed = [group for group in _MODE_CLASSES if mode in group]
        if not allowed:
            raise ValueError(f"invalid mode: {mode}")
        if sum(other in allowed[0] for other in given) > 1:
            raise ValueError(f"invalid mode: {text} says two things at once")
        if bind and mode == "nocopy":
            raise ValueError("invalid mode: nocopy is for volumes")
        if not bind and allowed[0] is _MODE_CLASSES[2]:
            raise ValueError(f"invalid mode: {mode} is for paths of the host, not for volumes")


def _fields(word: str) -> Iterable[tuple[str, str]]:
    if '"' in word:
        import csv

        parts = next(csv.reader([word]))
    else:
        parts = word.split(",")
    for part in parts:
        key, equals, value = part.partition("=")
        key = _SAME.get(key.lower(), key.lower())
        if key != key.strip() or value != value.strip():
            raise ValueError(f"invalid field '{part}': blanks around key or value")
        if not equals and key not in ("readonly", "volume-nocopy", "bind-nonrecursive", "bind-create-src"):
            raise ValueError(f"invalid field '{part}': say key=value")
        if equals and not value:
            raise ValueError(f"invalid value for '{key}': value is empty")
        yield key, value


def _bool(value: str) -> bool:
    if value not in ("", "1", "true", "0", "false"):
        raise ValueError(f"invalid value: {value} is neither true nor false")
    return value in ("", "1", "true")


def _set_type(found: dict[str, Any], value: str) -> None:
    if value.lower() not in _TYPES:
        raise ValueError(f"unknown mount type '{value}': say bind, volume, tmpfs or image")
    found["Type"] = value.lower()


def _set_source(found: dict[str, Any], value: str) -> None:
    found["Source"] = value


def _set_target(found: dict[str, Any], value: str) -> None:
    found["Target"] = _place(value)


def _set_read_only(found: dict[str, Any], value: str) -> None:
    found["ReadOnly"] = _bool(value)


def _set_consistency(found: dict[str, Any], value: str) -> None:
    found["Consistency"] = value


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
        raise ValueError(f"invalid value for tmpfs-mode: {value} is no octal number")
    return {"Mode": int(value, 8)}


# Which type a key belongs to, and what it adds to that type's options.
_OF: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
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


def _detail(found: dict[str, Any], key: str, value: str) -> None:
    kind, convert = _OF[key]
    if kind != found["Type"]:
        raise ValueError(f"cannot mix '{key}' with mount type '{found['Type']}'")
    _merge(found.setdefault(f"{kind.capitalize()}Options", {}), convert(value))


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _complete(found: dict[str, Any], here: str) -> dict[str, Any]:
    kind, source = found["Type"], found.get("Source", "")
    if "Target" not in found:
        raise ValueError("target is required, such as target=/data")
    if kind == "tmpfs" and source:
        raise ValueError("source cannot be given with mount type 'tmpfs'")
    if kind in ("bind", "image") and not source:
        raise ValueError(f"source is required with mount type '{kind}'")
    if kind == "bind" and not source.startswith("/"):
        if not source.startswith("."):
            raise ValueError(f"the source must be a path beginning with / or ./, not '{source}'")
        found["Source"] = os.path.normpath(os.path.join(here, source))
    return found
