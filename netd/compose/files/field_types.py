"""Conversions of single fields into the types of Docker's canonical document.  Pure.

Functions raise ValueError with the reason; ``None`` as a result means that the field is left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from netd.compose.reading.yaml_scalars import as_text

Json = dict[str, Any]
Convert = Callable[[Any], Any]


def text(value: Any) -> Any:
    return as_text(value) or None


def number(value: Any) -> Any:
    """Return a whole number where the text is one; 0 is left out."""
    return integer(value) or None


def integer(value: Any) -> Any:
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise ValueError(f"{value!r} is no whole number: correct it")
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def real(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is no number: correct it") from None
    return (int(value) if float(value).is_integer() else value) or None


def truth(value: Any) -> Any:
    """Return True or None: false is the default and left out."""
    return True if value is True or value == "true" else None


def either(value: Any) -> Any:
    """Return a boolean for which false differs from absence."""
    return value if isinstance(value, bool) else str(value).lower() == "true"


def anything(value: Any) -> Any:
    return value if value not in ("", [], {}) else None


def texts(value: Any) -> Any:
    entries = value if isinstance(value, list) else [value]
    return [as_text(entry) for entry in entries] or None


def command(value: Any) -> Any:
    """Return the words of a command: texts are split as a shell does, without expansion."""
    if isinstance(value, list):
        return [as_text(entry) for entry in value]
    try:
        return shlex.split(as_text(value))
    except ValueError as error:
        raise ValueError(f"the command cannot be split into words ({error}): correct its quotes") from None


def health_test(value: Any) -> Any:
    return [as_text(entry) for entry in value] if isinstance(value, list) else ["CMD-SHELL", as_text(value)]


def pairs(value: Any) -> Any:
    """Return a mapping of texts from a mapping or from ``KEY=value`` entries; absent values are empty."""
    return {key: as_text(entry) for key, entry in _pairs(value).items()} or None


def variables(value: Any) -> Any:
    """Return a mapping of texts in which null stands for a variable without a value."""
    return {key: None if entry is None else as_text(entry) for key, entry in _pairs(value).items()} or None


def _pairs(value: Any) -> Json:
    if isinstance(value, dict):
        return {str(key): value[key] for key in sorted(value)}
    found: Json = {}
    for entry in value or ():
        key, equals, rest = as_text(entry).partition("=")
        found[key] = rest if equals else None
    return {key: found[key] for key in sorted(found)}


def hosts(value: Any) -> Any:
    """Return ``HOST=ADDRESS`` entries, sorted."""
    found: list[tuple[str, str]] = []
    if isinstance(value, dict):
        for host, addresses in value.items():
            found += [(host, as_text(entry)) for entry in (addresses if isinstance(addresses, list) else [addresses])]
    else:
        for entry in value or ():
            mark = "=" if "=" in entry else ":"
            host, found_mark, address = entry.partition(mark)
            if not found_mark or not host:
                raise ValueError(f"bad host name in {entry!r}: use HOST=ADDRESS")
            found.append((host.strip(), address.strip()))
    plain = [
        (host, address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address) for host, address in found
    ]
    return sorted(f"{host}={address}" for host, address in plain) or None


def record(fields: Mapping[str, Convert], *, keep_empty: bool = True) -> Convert:
    """Return the conversion of a mapping with *fields*; fields that are not listed are left out."""

    def convert(value: Any) -> Any:
        found = {}
        for key, field in fields.items():
            if value and value.get(key) is not None:
                entry = named(key, field)(value[key])
                if entry is not None:
                    found[key] = entry
        return found if found or keep_empty else None

    return convert


def named(key: str, field: Convert) -> Convert:
    """Return *field* whose ValueError names the key."""

    def convert(value: Any) -> Any:
        try:
            return field(value)
        except FieldError as error:
            raise FieldError(f"{key}.{error.where}" if error.where else key, error.reason) from None
        except ValueError as error:
            raise FieldError(key, str(error)) from None

    return convert


class FieldError(ValueError):
    """A field that cannot be converted, with its path below the converted value."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where
        self.reason = reason


def each(entry: Convert) -> Convert:
    """Return the conversion of a list."""

    def convert(value: Any) -> Any:
        return [named(str(index), entry)(item) for index, item in enumerate(value)] or None

    return convert


def mapping(entry: Convert, *, nulls: bool = False) -> Convert:
    """Return the conversion of a mapping with arbitrary keys, which are sorted."""

    def convert(value: Any) -> Any:
        found = {}
        for key in sorted(value):
            item = value[key]
            found[key] = None if item is None and nulls else named(key, entry)(item if item is not None else {})
        return found or None

    return convert
