"""Names that are the same everywhere and that no server outside is asked for (RFC 6761, RFC 6303).  Pure."""

from __future__ import annotations

from netd.dns.messages.reverse import ReverseRange, Zones

LOCALHOST = "localhost"
LOOPBACK = ("127.0.0.1", "::1")
_ZONES = Zones(("127.0.0.0/8", "0.0.0.0/8", "255.255.255.255/32", "::/128", "::1/128"))


def is_loopback(name: str) -> bool:
    """Whether *name* is localhost or below it."""
    return name == LOCALHOST or name.endswith(f".{LOCALHOST}")


def is_invalid(name: str) -> bool:
    """Whether *name* is one of those that never exist."""
    return name == "invalid" or name.endswith(".invalid")


def holds(spot: ReverseRange) -> bool:
    """Whether a reverse name stands for addresses that are never outside a host."""
    return _ZONES.holds(spot)
