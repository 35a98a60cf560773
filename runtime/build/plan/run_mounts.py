"""The mounts of RUN: ``--mount=type=cache|bind|tmpfs|secret,…``.  Pure."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Callable
from dataclasses import dataclass

from netd.common.digits import unsigned
from runtime.build.dockerfile.faults import DockerfileError

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_KEYS = {
    "bind": {"target", "source", "from", "rw", "ro"},
    "cache": {"target", "source", "from", "id", "sharing", "mode", "uid", "gid", "ro", "rw"},
    "tmpfs": {"target", "size"},
    "secret": {"target", "id", "required", "mode", "uid", "gid", "env"},
}
_NAMES = {"dst": "target", "destination": "target", "src": "source", "readonly": "ro", "readwrite": "rw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """A mount; ``target`` is absolute, empty for a secret that is only an environment variable."""

    kind: str
    target: str
    source: str = ""
    origin: str = ""
    """``from``: a stage or an image."""
    writable: bool = False
    id: str = ""
    sharing: str = "shared"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    required: bool = False
    variable: str = ""
    """``env``: the environment variable that holds the secret."""


def parse(text: str, workdir: str, expand: Callable[[str], str]) -> RunMount:
    """Parse one ``--mount``; *expand* expands variables.  Raises DockerfileError."""
    options = _options(text)
    kind = options.pop("type", "bind")
    if kind == "ssh":
        raise DockerfileError("RUN --mount=type=ssh is not supported: copy a key in with --mount=type=secret")
    if kind not in _KEYS:
        raise DockerfileError(f"unsupported mount type {kind!r}: use bind, cache, tmpfs or secret")
    if unknown := sorted(set(options) - _KEYS[kind]):
        raise DockerfileError(f"unexpected key {unknown[0]!r} for mount type {kind!r}")
    values = {name: expand(value) for name, value in options.items()}
    return _secret(values, workdir) if kind == "secret" else _folder(kind, values, workdir)


def _options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for field in next(csv.reader([text]), []):
        name, equals, value = field.partition("=")
        key = name.strip().lower()
        key = _NAMES.get(key, key)
        if key in options:
            raise DockerfileError(f"the mount option {key!r} is given twice")
        if not equals and key not in ("ro", "rw", "required"):
            raise DockerfileError(f"invalid field {name!r}: must be a key=value pair")
        options[key] = value if equals else "true"
    return options


def _folder(kind: str, values: dict[str, str], workdir: str) -> RunMount:
    if not values.get("target"):
        raise DockerfileError(f"a mount of type {kind} needs a target")
    target = _absolute(values["target"], workdir)
    if target == "/":
        raise DockerfileError("/ cannot be the target of a mount")
    sharing = values.get("sharing", "shared")
    if sharing not in ("shared", "private", "locked"):
        raise DockerfileError(f"unsupported sharing value {sharing!r}: use shared, private or locked")
    read_only = _flag(values, "ro") if "ro" in values else not _flag(values, "rw") and kind == "bind"
    return RunMount(
        kind=kind,
        target=target,
        source=values.get("source", ""),
        origin=values.get("from", ""),
        writable=kind == "tmpfs" or not read_only,
        id=values.get("id") or target,
        sharing=sharing,
        mode=_mode(values, 0o755),
        uid=_number(values, "uid"),
        gid=_number(values, "gid"),
        size=_size(values.get("size", "")),
    )


def _secret(values: dict[str, str], workdir: str) -> RunMount:
    target, variable = values.get("target", ""), values.get("env", "")
    identifier = values.get("id") or posixpath.basename(target)
    if not identifier:
        raise DockerfileError("a mount of type secret needs an id or a target")
    if not target and not variable:
        target = f"/run/secrets/{posixpath.basename(identifier)}"
    return RunMount(
        kind="secret",
        target=_absolute(target, workdir) if target else "",
        id=identifier,
        mode=_mode(values, 0o400),
        uid=_number(values, "uid"),
        gid=_number(values, "gid"),
        required=_flag(values, "required"),
        variable=variable,
    )


def _absolute(path: str, workdir: str) -> str:
    return posixpath.normpath(posixpath.join("/", workdir or "/", path))


def _flag(values: dict[str, str], name: str) -> bool:
    value = values.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise DockerfileError(f"invalid value for {name}: {value!r} is not true or false")
    return value in ("true", "1")


def _number(values: dict[str, str], name: str) -> int:
    number = unsigned(values.get(name, "0"), 2**32 - 2)
    if number is None:
        raise DockerfileError(f"invalid value for {name}: {values[name]!r} is not a number")
    return number


def _mode(values: dict[str, str], default: int) -> int:
    text = values.get("mode")
    if text is None:
        return default
    if not 1 <= len(text) <= 5 or set(text) - set("01234567"):
        raise DockerfileError(f"invalid value for mode: {text!r} is not an octal number")
    return int(text, 8) & 0o7777


def _size(text: str) -> int:
    bare = text.lower().removesuffix("b")
    digits = bare.rstrip("kmg")
    number = unsigned(digits) if text else 0
    unit = bare[len(digits) :]
    if number is None or unit not in _SIZES:
        raise DockerfileError(f"invalid value for size: {text!r}; use a number with k, m or g")
    return number * _SIZES[unit]
