"""Reverse names such as ``4.3.2.1.in-addr.arpa``, and the subnets that contain them.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

_ZONES = ((".in-addr.arpa", 4, 32, 8, 10), (".ip6.arpa", 6, 128, 4, 16))
"""Suffix, family, bits of an address, bits and number base of a label."""


@dataclass(frozen=True, slots=True)
class ReverseRange:
    """The addresses of a reverse name: those of ``version`` whose first ``length`` bits are ``bits``."""

    version: int
    bits: int
    length: int
    exact: bool = True
    """False for a name below the range that is not the reverse name of any address or prefix."""

    @property
    def address(self) -> str | None:
        """The address, if the range is a single one."""
        if not self.exact:
            return None
        if self.version == 4:
            return str(IPv4Address(self.bits)) if self.length == 32 else None
        return str(IPv6Address(self.bits)) if self.length == 128 else None

    def contains(self, subnet: str) -> bool:
        """Return True if *subnet* is a smaller part of the range."""
        version, bits, length = _prefix(subnet)
        return (
            self.exact
            and version == self.version
            and self.length < length
            and bits >> length - self.length == self.bits
        )


def parse(name: str) -> ReverseRange | None:
    """Return the addresses of a folded name under in-addr.arpa or ip6.arpa; None for other names."""
    if not name.endswith(".arpa"):
        return None
    for ending, version, most, step, base in _ZONES:
        if name.endswith(ending):
            labels = name.removesuffix(ending).split(".")
            return _range(labels[::-1], version, most, (step, base))
    return None


def _range(labels: Sequence[str], version: int, most: int, digit: tuple[int, int]) -> ReverseRange:
    step, base = digit
    bits = length = 0
    for label in labels:
        value = _value(label, base)
        if value is None or value >> step or length == most:
            return ReverseRange(version, bits, length, exact=False)
        bits, length = bits << step | value, length + step
    return ReverseRange(version, bits, length)


def _value(label: str, base: int) -> int | None:
    """Return the number of a label in canonical form (no leading zeros, lower case); None for any other label."""
    if not label.isascii() or not label.isalnum() or len(label) > 3:
        return None
    try:
        value = int(label, base)
    except ValueError:
        return None
    return value if label == (str(value) if base == 10 else f"{value:x}") else None


def _prefix(subnet: str) -> tuple[int, int, int]:
    found = ip_network(subnet)
    return found.version, int(found.network_address) >> found.max_prefixlen - found.prefixlen, found.prefixlen


class Zones:
    """The subnets of a host; the cost of a lookup does not depend on their number."""

    def __init__(self, subnets: Iterable[str] = ()) -> None:
        self._prefixes: dict[tuple[int, int], Counter[int]] = {}
        """(Family, prefix length) → prefixes, with the number of times each was added."""
        self.add(subnets)

    def add(self, subnets: Iterable[str]) -> None:
        for subnet in subnets:
            version, bits, length = _prefix(subnet)
            self._prefixes.setdefault((version, length), Counter())[bits] += 1

    def remove(self, subnets: Iterable[str]) -> None:
        """Remove subnets that were added, one occurrence each."""
        for subnet in subnets:
            version, bits, length = _prefix(subnet)
            counts = self._prefixes[version, length]
            counts[bits] -= 1
            if not counts[bits]:
                del counts[bits]
            if not counts:
                del self._prefixes[version, length]

    def contains(self, addresses: ReverseRange) -> bool:
        """Return True if all of *addresses* are in one of the subnets."""
        return any(
            version == addresses.version
            and length <= addresses.length
            and addresses.bits >> addresses.length - length in prefixes
            for (version, length), prefixes in self._prefixes.items()
        )
