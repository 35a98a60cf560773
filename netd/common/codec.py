"""JSON for typed values: msgspec with the address types that it does not know.

Decoding is strict about types and names the path of what is wrong.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_ADDRESSES = (IPv4Address, IPv4Network, IPv4Interface, IPv6Address, IPv6Network, IPv6Interface)


def _encode(value: Any) -> Any:
    if isinstance(value, _ADDRESSES):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type, value: Any) -> Any:
    if kind in _ADDRESSES:
        return kind(value)
    raise NotImplementedError(f"{kind.__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: Any) -> bytes:
    """Return *value* as compact JSON."""
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the value that *data* holds.  Raises msgspec.DecodeError (ValidationError for wrong types)."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_decode)
    return decoder.decode(data)  # type: ignore[no-any-return]
