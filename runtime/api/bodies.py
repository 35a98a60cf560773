"""Decodes request bodies of Docker's clients, which write null for fields that are not set.

Null fields are dropped, except in the maps whose keys the client chooses (ports, paths, networks), where null is a
value.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from netd.common.errors import BadRequest
from netd.common.http.web import Call

T = TypeVar("T")

_PLAIN = frozenset({str, int, bool, float})
_MAPS = frozenset({"ExposedPorts", "PortBindings", "Volumes", "EndpointsConfig"})


async def read(call: Call, kind: type[T]) -> T:
    """Return the body as *kind*; a missing body is an empty object.  Raises BadRequest with Docker's messages."""
    plain: Any = await call.body(dict[str, Any], kind)
    return convert(plain, kind)


def convert(plain: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(_without_nulls(plain), kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid JSON: {error}") from None


def _without_nulls(value: Any, keep: bool = False) -> Any:
    """Return *value* without null fields; with *keep*, null values of its own keys stay.

    Values that cannot hold a null are not copied, which saves time for bodies that publish many ports.
    """
    if isinstance(value, dict):
        return {
            key: _without_nulls(inner, key in _MAPS) if _may_hold_null(inner) else inner
            for key, inner in value.items()
            if keep or inner is not None
        }
    if isinstance(value, list):
        return [_without_nulls(inner) if _may_hold_null(inner) else inner for inner in value]
    return value


def _may_hold_null(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return not _PLAIN.issuperset(map(type, value.values()))
    if kind is list and len(value) == 1:
        return _may_hold_null(value[0])
    return kind is list
