"""JSON keys in another case than ours: Docker's engine reads them all the same, and some clients count on it.

Bodies whose keys are spelled as usual, which is nearly all, are only glanced at; large ones are not even that.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

_KEY = re.compile(rb'"([A-Za-z0-9_]{1,64})"\s*:')
_LARGE = 64 << 10


def normalize_keys(data: bytes, kind: Any) -> bytes:
    """Return the body with the keys of *kind* spelled as *kind* has them; keys of free maps stay as they are.

    What is no JSON, or larger than 64 KiB, is returned as it is.
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
def _names(kind: Any) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return every key that *kind* and what is in it have, as they are and in lower case."""
    found: set[str] = set()
    _collect(inspect.type_info(kind), found)
    return frozenset(name.encode() for name in found), frozenset(name.lower().encode() for name in found)


def _collect(info: inspect.Type, found: set[str]) -> None:
    if isinstance(info, inspect.StructType):
        for field in info.fields:
            found.add(field.encode_name)
            _collect(field.type, found)
    for inner in _inside(info):
        _collect(inner, found)


def _inside(info: inspect.Type) -> tuple[inspect.Type, ...]:
    match info:
        case inspect.UnionType():
            return info.types
        case inspect.ListType() | inspect.VarTupleType():
            return (info.item_type,)
        case inspect.DictType():
            return (info.value_type,)
    return ()


def _normalized(value: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.UnionType):
        for one in info.types:
            value = _normalized(value, one)
        return value
    if isinstance(value, dict) and isinstance(info, inspect.StructType):
        fields = {field.encode_name.lower(): field for field in info.fields}
        return dict(_entry(key, inner, fields.get(key.lower())) for key, inner in value.items())
    inner_types = _inside(info)
    if isinstance(value, dict) and isinstance(info, inspect.DictType):
        return {key: _normalized(inner, inner_types[0]) for key, inner in value.items()}
    if isinstance(value, list) and inner_types:
        return [_normalized(inner, inner_types[0]) for inner in value]
    return value


def _entry(key: str, value: Any, field: inspect.Field | None) -> tuple[str, Any]:
    return (key, value) if field is None else (field.encode_name, _normalized(value, field.type))
