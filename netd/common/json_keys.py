"""Case-insensitive JSON keys, as Docker's engine (Go's encoding/json) accepts them and some clients send them.

Nearly all bodies have the exact keys; a regular expression finds that out without decoding them.  Bodies over 64 KiB
are returned unchanged.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec
from msgspec import inspect

_KEY = re.compile(rb'"([A-Za-z0-9_]{1,64})"\s*:')
_LARGE = 64 << 10


def normalize_keys(data: bytes, kind: object) -> bytes:
    """Return the body with the keys of *kind* in the case that *kind* declares; keys of maps are not changed.

    Invalid JSON, and bodies larger than 64 KiB, are returned unchanged.
    """
    if len(data) > _LARGE:
        return data
    exact, folded = _names(kind)
    if not any(key not in exact and key.lower() in folded for key in set(_KEY.findall(data))):
        return data
    try:
        return msgspec.json.encode(_normalized(msgspec.json.decode(data), inspect.type_info(kind)))
    except (msgspec.DecodeError, RecursionError):
        return data


@cache
def _names(kind: object) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return all keys of *kind* and of the types nested in it: as declared, and in lower case."""
    found: set[str] = set()
    _collect(inspect.type_info(kind), found)
    return frozenset(name.encode() for name in found), frozenset(name.lower().encode() for name in found)


def _collect(info: inspect.Type, found: set[str]) -> None:
    if isinstance(info, inspect.StructType):
        for field in info.fields:
            found.add(field.encode_name)
            _collect(field.type, found)
    for inner in _nested(info):
        _collect(inner, found)


def _nested(info: inspect.Type) -> tuple[inspect.Type, ...]:
    match info:
        case inspect.UnionType():
            return info.types
        case inspect.ListType() | inspect.VarTupleType():
            return (info.item_type,)
        case inspect.DictType():
            return (info.value_type,)
    return ()


def _normalized(value: object, info: inspect.Type) -> object:
    if isinstance(info, inspect.UnionType):
        for member in info.types:
            value = _normalized(value, member)
        return value
    if isinstance(value, dict) and isinstance(info, inspect.StructType):
        fields = {field.encode_name.lower(): field for field in info.fields}
        return dict(_entry(key, inner, fields.get(key.lower())) for key, inner in value.items())
    inner_types = _nested(info)
    if isinstance(value, dict) and isinstance(info, inspect.DictType):
        return {key: _normalized(inner, inner_types[0]) for key, inner in value.items()}
    if isinstance(value, list) and inner_types:
        return [_normalized(inner, inner_types[0]) for inner in value]
    return value


def _entry(key: str, value: object, field: inspect.Field | None) -> tuple[str, object]:
    return (key, value) if field is None else (field.encode_name, _normalized(value, field.type))
