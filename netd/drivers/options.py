"""Reading driver options, with Docker's words for what cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from netd.common.addresses import Address
from netd.common.errors import BadRequest

PREFIX = "com.docker.network."
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def refuse_unknown(options: Mapping[str, str], known: Collection[str], what: str) -> None:
    """Raise BadRequest for an option of Docker's name space that nothing here would heed."""
    for name in options:
        if name.startswith(PREFIX) and name not in known:
            raise BadRequest(f"option {name} is not supported for {what}; remove it")


def flag(options: Mapping[str, str], name: str, default: bool) -> bool:
    text = options.get(name)
    if text is None:
        return default
    if text not in _TRUE + _FALSE:
        raise unreadable(name, text, "it is neither true nor false")
    return text in _TRUE


def number(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise unreadable(name, text, "it is not a number") from None


def address(options: Mapping[str, str], name: str) -> Address | None:
    """Return an address of either family; None where none is given."""
    text = options.get(name, "")
    try:
        return ip_address(text) if text else None
    except ValueError:
        raise unreadable(name, text, "it is not an IP address") from None


def address_of(options: Mapping[str, str], name: str, kind: type[IPv4Address] | type[IPv6Address]) -> Address | None:
    """Return an address of the one family."""
    found = address(options, name)
    if found is not None and not isinstance(found, kind):
        raise unreadable(name, str(found), f"it is not an {kind.__name__[:4]} address")
    return found


def unreadable(name: str, text: str, reason: str) -> BadRequest:
    return BadRequest(f"failed to parse {name} value: {text} ({reason})")
