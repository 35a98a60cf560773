"""Reading driver options, with Docker's words for what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from netd.common.addresses import Address, Family
from netd.common.digits import signed
from netd.common.errors import BadRequest

PREFIX = "com.docker.network."
MTU = PREFIX + "driver.mtu"
INTERFACE_PREFIX = PREFIX + "container_iface_prefix"
ORDINARY_MTU = 1500
GATEWAYS: dict[Family, str] = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}
"""Names of auxiliary addresses that are the containers' default gateways."""
_MTUS = range(68, 65536)
_LINK_NAME = re.compile(r"(?!\.{1,2}\Z|lo\Z)[^\s/:%]{1,15}\Z")
_LONGEST_PREFIX = 12
"""Of the fifteen characters that a link's name may have, some are for its number."""
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
    if not is_flag(text):
        raise unreadable(name, text, "it is neither true nor false")
    return text in _TRUE


def is_flag(text: str) -> bool:
    """Tell whether *text* is one of Go's spellings of true and false."""
    return text in _TRUE + _FALSE


def number(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, "")
    found = signed(text) if text else default
    if found is None:
        raise unreadable(name, text, "it is not a number")
    return found


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


def mtu(options: Mapping[str, str]) -> int:
    """Return the MTU that is asked for; 0 where none is."""
    found = number(options, MTU, 0)
    if found and found not in _MTUS:
        raise BadRequest(f"invalid MTU number: {found}: {MTU} is {_MTUS.start} to {_MTUS.stop - 1}")
    return found


def interface_prefix(options: Mapping[str, str]) -> str:
    """Return what the names of interfaces inside containers begin with."""
    found = options.get(INTERFACE_PREFIX, "") or "eth"
    if len(found) > _LONGEST_PREFIX or not is_link_name(found):
        raise unreadable(
            INTERFACE_PREFIX, found, f"it has up to {_LONGEST_PREFIX} characters, without spaces, '/', ':' and '%'"
        )
    return found


def is_link_name(text: str) -> bool:
    return _LINK_NAME.match(text) is not None


def unreadable(name: str, text: str, reason: str) -> BadRequest:
    return BadRequest(f"failed to parse {name} value: {text} ({reason})")
