"""Logging options: validation, limits of the log's files, and the details of its lines.  Pure.

Both drivers write the same files; ``local`` differs in its defaults, as in Docker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote_plus

from netd.common.digits import unsigned
from netd.common.errors import BadRequest
from runtime.container_config import HostConfig
from runtime.record import ContainerRecord

_DRIVERS = ("", "json-file", "local", "none")
_COMMON = ("mode", "max-buffer-size")
_FILE = ("max-size", "max-file", "compress")
_JSON = ("labels", "labels-regex", "env", "env-regex", "tag")
_LOCAL_SIZE, _LOCAL_FILES = "20m", "5"
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_FLAGS = ("1", "t", "true", "0", "f", "false")
_TAG = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_MAX_PATTERN = 256


def check(host: HostConfig) -> None:
    """Raise BadRequest, with Docker's texts, for an unknown driver or option and an invalid value."""
    driver, options = host.log_config.type, host.log_config.config or {}
    if driver not in _DRIVERS:
        raise BadRequest(f"logger: no log driver named '{driver}' is registered; use json-file, local or none")
    _check_mode(options)
    if driver == "none":
        return
    known = (*_COMMON, *_FILE, *(() if driver == "local" else _JSON))
    if unknown := [name for name in options if name not in known]:
        end = "log driver local" if driver == "local" else "json-file log driver"
        raise BadRequest(f"unknown log opt '{unknown[0]}' for {end}")
    size, count = limits(host)
    _check_compression(options, size, count)
    _check_details(options)


def limits(host: HostConfig) -> tuple[int, int]:
    """Return (size limit of a log file in bytes, -1 for none; number of files kept)."""
    options, is_local = host.log_config.config or {}, host.log_config.type == "local"
    size = _size(options.get("max-size", _LOCAL_SIZE if is_local else "-1"))
    count = unsigned(options.get("max-file", _LOCAL_FILES if is_local else "1"))
    if not count:
        raise BadRequest("max-file cannot be less than 1")
    return size, count if size > 0 else 1


def _size(text: str) -> int:
    if text == "-1":
        return -1
    digits = text.lower().removesuffix("b").rstrip("kmg")
    unit = text.lower().removesuffix("b")[len(digits) :]
    number = unsigned(digits)
    if not number or unit not in _UNITS:
        raise BadRequest(f"invalid value for max-size: {text!r}; use a number with k, m or g, or -1")
    return number * _UNITS[unit]


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise BadRequest(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise BadRequest("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        _size(options["max-buffer-size"])


def _check_compression(options: Mapping[str, str], size: int, count: int) -> None:
    """Files are never compressed; the option is validated as in Docker."""
    text = options.get("compress", "")
    if text and text.lower() not in _FLAGS:
        raise BadRequest(f"invalid value for compress: {text!r}; use true or false")
    if text.lower() in _FLAGS[:3] and (size < 0 or count < 2):
        raise BadRequest("compress cannot be true when max-file is less than 2 or max-size is not set")


def _check_details(options: Mapping[str, str]) -> None:
    for name in ("labels-regex", "env-regex"):
        _pattern(name, options.get(name, ""))
    if "{{" in _TAG.sub("", options.get("tag", "")):
        raise BadRequest(f"invalid tag {options['tag']!r}: use {{{{.ID}}}}, {{{{.Name}}}} or {{{{.ImageName}}}}")


def _pattern(name: str, text: str) -> re.Pattern[str] | None:
    if not text:
        return None
    if len(text) > _MAX_PATTERN:
        raise BadRequest(f"the expression in {name} is too long: use up to {_MAX_PATTERN} characters")
    try:
        return re.compile(text)
    except re.error as error:
        raise BadRequest(f"error parsing regexp in {name}: {error}: `{text}`") from None


def details(record: ContainerRecord) -> bytes:
    """Return what precedes each line with ``logs --details``: the labels and variables that the options select."""
    options = record.host.log_config.config or {}
    environment = dict(text.partition("=")[::2] for text in record.config.env or ())
    found = _selected(record.config.labels or {}, options, "labels") | _selected(environment, options, "env")
    if options.get("tag"):
        found["tag"] = _TAG.sub(lambda match: _tag_fields(record).get(match[1], ""), options["tag"])
    pairs = (f"{quote_plus(key)}={quote_plus(found[key])}" for key in sorted(found))
    return ",".join(pairs).encode() + b" "


def _selected(values: Mapping[str, str], options: Mapping[str, str], name: str) -> dict[str, str]:
    names = options.get(name, "").split(",")
    pattern = _pattern(f"{name}-regex", options.get(f"{name}-regex", ""))
    return {key: value for key, value in values.items() if key in names or (pattern and pattern.search(key))}


def _tag_fields(record: ContainerRecord) -> dict[str, str]:
    return {
        "ID": record.short_id,
        "FullID": record.id,
        "Name": record.name,
        "ContainerName": f"/{record.name}",
        "ImageID": record.image.removeprefix("sha256:")[:12],
        "ImageFullID": record.image,
        "ImageName": record.config.image,
        "DaemonName": "docker",
    }
