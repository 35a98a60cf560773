"""JSON for typed values: msgspec, extended by the address types of :mod:`ipaddress`.

Decoding is strict about types; its errors contain the JSON path of the wrong value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from netd.common.addresses import READERS

T = TypeVar("T")


def _encode(value: object) -> str:
    if type(value) in READERS:
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type, value: str) -> object:
    if (read := READERS.get(kind)) is not None:
        return read(value)
    raise NotImplementedError(f"{kind.__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode)
_decoders: dict[object, msgspec.json.Decoder[Any]] = {}


def find_nul(data: bytes) -> str | None:
    """Return the JSON path of the first string that contains NUL, such as ``$.Binds[0]``, or None.

    The kernel ends a string at its first NUL, so it would use another string than the one that was validated.
    """
    if b"\\u0000" not in data:
        return None
    return next(_paths_with_nul(msgspec.json.decode(data), "$"), None)


def _paths_with_nul(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) and "\0" in value:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            if "\0" in key:
                yield f"{path}[...]"
            yield from _paths_with_nul(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths_with_nul(inner, f"{path}[{index}]")


def encode(value: object) -> bytes:
    """Return *value* as compact JSON."""
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode *data* as *kind*.  Raises msgspec.DecodeError (ValidationError for wrong types)."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_decode)
    return decoder.decode(data)  # type: ignore[no-any-return]
