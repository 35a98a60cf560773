"""Special-use names and reverse zones that are never forwarded (RFC 6761, RFC 6303).  Pure."""

from __future__ import annotations

from netd.dns.messages.reverse import ReverseRange, Zones

LOCALHOST = "localhost"
LOOPBACK = ("127.0.0.1", "::1")
_ZONES = Zones(("127.0.0.0/8", "0.0.0.0/8", "255.255.255.255/32", "::/128", "::1/128"))


def is_loopback(name: str) -> bool:
    """Return True for localhost and the names below it."""
    return name == LOCALHOST or name.endswith(f".{LOCALHOST}")


def is_invalid(name: str) -> bool:
    """Return True for names of the top-level domain invalid, which never exist."""
    return name == "invalid" or name.endswith(".invalid")


def is_local(addresses: ReverseRange) -> bool:
    """Return True if all of *addresses* are used within a host only."""
    return _ZONES.contains(addresses)
