"""Parsing of driver options, with Docker's error messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from netd.common.addresses import Address, Family
from netd.common.digits import signed
from netd.common.errors import BadRequest
from netd.nearest_names import nearest

PREFIX = "com.docker.network."
OWN_PREFIX = "netd."
MTU = PREFIX + "driver.mtu"
INTERFACE_PREFIX = PREFIX + "container_iface_prefix"
ORDINARY_MTU = 1500
GATEWAYS: dict[Family, str] = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}
"""Names of the auxiliary addresses that replace the containers' default gateways."""
_BUILT_IN = ("bridge", "macvlan")
_OF_OTHER_ENGINES = frozenset(
    ("encrypted", "isolate", "metric", "no_default_route", "vlan", "vrf", PREFIX + "driver.overlay.vxlanid_list")
)
"""Options of Docker's overlay driver and of Podman's bridge driver, which files for several engines contain."""
_MTUS = range(68, 65536)
_LINK_NAME = re.compile(r"(?!\.{1,2}\Z|lo\Z)[^\s/:%]{1,15}\Z")
_LONGEST_PREFIX = 12
"""Characters; a link's name has at most fifteen, including its number."""
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def refuse_unknown(options: Mapping[str, str], known: Collection[str], what: str) -> None:
    """Raise BadRequest for an option that is not in *known*, unless it is another program's (``without_effect``)."""
    for name in options:
        if name not in known and not _is_foreign(name):
            raise _unknown(name, known, what)


def refuse_unknown_with_prefix(options: Mapping[str, str], known: Collection[str], what: str) -> None:
    """Raise BadRequest for an option with the prefix of Docker or netd that is not in *known*; ignore others."""
    for name in options:
        if name.startswith((PREFIX, OWN_PREFIX)) and name not in known:
            raise _unknown(name, known, what)


def without_effect(driver: str, options: Mapping[str, str]) -> list[str]:
    """Return a sentence for each option of other programs that the built-in *driver* ignores."""
    if driver not in _BUILT_IN:
        return []
    return [f"option {name} has no effect on {driver} networks of netd" for name in options if _is_foreign(name)]


def _is_foreign(name: str) -> bool:
    """Return True for a name in a name space of others (com.example.x), and for options of other engines."""
    return name in _OF_OTHER_ENGINES or ("." in name and not name.startswith((PREFIX, OWN_PREFIX)))


def _unknown(name: str, known: Collection[str], what: str) -> BadRequest:
    near = next((text for text in known if text.endswith(f".{name}")), "") or nearest(name, known)
    hint = f"did you mean {near}?" if near else "remove it"
    return BadRequest(f"option {name} is not an option of {what}; {hint}")


def flag(options: Mapping[str, str], name: str, default: bool) -> bool:
    """Return a boolean option.  Raises BadRequest."""
    text = options.get(name)
    if text is None:
        return default
    if not is_flag(text):
        raise unreadable(name, text, "it is neither true nor false")
    return text in _TRUE


def is_flag(text: str) -> bool:
    """Return True if *text* is a boolean of Go's strconv.ParseBool."""
    return text in _TRUE + _FALSE


def number(options: Mapping[str, str], name: str, default: int) -> int:
    """Return an integer option.  Raises BadRequest."""
    text = options.get(name, "")
    found = signed(text) if text else default
    if found is None:
        raise unreadable(name, text, "it is not a number")
    return found


def address(options: Mapping[str, str], name: str) -> Address | None:
    """Return an address of either family; None if unset.  Raises BadRequest."""
    text = options.get(name, "")
    try:
        return ip_address(text) if text else None
    except ValueError:
        raise unreadable(name, text, "it is not an IP address") from None


def address_of(options: Mapping[str, str], name: str, kind: type[IPv4Address] | type[IPv6Address]) -> Address | None:
    """Return an address of the family of *kind*; None if unset.  Raises BadRequest."""
    found = address(options, name)
    if found is not None and not isinstance(found, kind):
        raise unreadable(name, str(found), f"it is not an {kind.__name__[:4]} address")
    return found


def mtu(options: Mapping[str, str]) -> int:
    """Return the MTU option; 0 if unset.  Raises BadRequest."""
    found = number(options, MTU, 0)
    if found and found not in _MTUS:
        raise BadRequest(f"invalid MTU number: {found}: {MTU} is {_MTUS.start} to {_MTUS.stop - 1}")
    return found


def interface_prefix(options: Mapping[str, str]) -> str:
    """Return the prefix of interface names inside containers.  Raises BadRequest."""
    found = options.get(INTERFACE_PREFIX, "") or "eth"
    if len(found) > _LONGEST_PREFIX or not is_link_name(found):
        raise unreadable(
            INTERFACE_PREFIX, found, f"it has up to {_LONGEST_PREFIX} characters, without spaces, '/', ':' and '%'"
        )
    return found


def is_link_name(text: str) -> bool:
    """Return True if the kernel accepts *text* as the name of a link."""
    return _LINK_NAME.match(text) is not None


def unreadable(name: str, text: str, reason: str) -> BadRequest:
    """Return Docker's error for an option that cannot be parsed."""
    return BadRequest(f"failed to parse {name} value: {text} ({reason})")
