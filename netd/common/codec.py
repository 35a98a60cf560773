"""JSON for typed values: msgspec with the address types that it does not know.

Decoding is strict about types and names the path of what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from netd.common.addresses import READERS

T = TypeVar("T")


def _encode(value: Any) -> Any:
    if type(value) in READERS:
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type, value: Any) -> Any:
    if (read := READERS.get(kind)) is not None:
        return read(value)
    raise NotImplementedError(f"{kind.__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def find_nul(data: bytes) -> str | None:
    """Return the place of the first string with a NUL character in the JSON *data*, such as ``$.Binds[0]``, or None.

    The kernel ends a text at its first NUL, so that what was checked would not be what is used.
    """
    if b"\\u0000" not in data:
        return None
    return next(_nul_places(msgspec.json.decode(data), "$"), None)


def _nul_places(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, str) and "\0" in value:
        yield place
    elif isinstance(value, dict):
        for key, inner in value.items():
            if "\0" in key:
                yield f"{place}[...]"
            yield from _nul_places(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _nul_places(inner, f"{place}[{number}]")


def encode(value: Any) -> bytes:
    """Return *value* as compact JSON."""
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the value that *data* holds.  Raises msgspec.DecodeError (ValidationError for wrong types)."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_decode)
    return decoder.decode(data)  # type: ignore[no-any-return]
