"""Reverse names, ``4.3.2.1.in-addr.arpa``, and whose they are.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

_ZONES = ((".in-addr.arpa", 4, 32, 8, 10), (".ip6.arpa", 6, 128, 4, 16))
"""Ending, family, bits in all, bits and base of a label."""


@dataclass(frozen=True, slots=True)
class ReverseRange:
    """The addresses that a reverse name stands for: those of ``version`` whose first ``length`` bits are ``bits``."""

    version: int
    bits: int
    length: int
    exact: bool = True
    """False for names below it that no address can have."""

    @property
    def address(self) -> str | None:
        """The one address, if it is one."""
        if not self.exact:
            return None
        if self.version == 4:
            return str(IPv4Address(self.bits)) if self.length == 32 else None
        return str(IPv6Address(self.bits)) if self.length == 128 else None

    def contains(self, subnet: str) -> bool:
        """Whether all of *subnet*, which is smaller, is in it."""
        version, bits, length = _parts(subnet)
        return (
            self.exact
            and version == self.version
            and self.length < length
            and bits >> length - self.length == self.bits
        )


def spot(name: str) -> ReverseRange | None:
    """Return what a folded name under in-addr.arpa or ip6.arpa stands for, None for other names."""
    for ending, version, most, step, base in _ZONES:
        if name.endswith(ending):
            labels = name.removesuffix(ending).split(".")
            return _spot(labels[::-1], version, most, (step, base))
    return None


def _spot(labels: Sequence[str], version: int, most: int, digit: tuple[int, int]) -> ReverseRange:
    step, base = digit
    bits = length = 0
    for label in labels:
        value = _value(label, base)
        if value is None or value >> step or length == most:
            return ReverseRange(version, bits, length, exact=False)
        bits, length = bits << step | value, length + step
    return ReverseRange(version, bits, length)


def _value(label: str, base: int) -> int | None:
    """Return the number that a label is in its one usual form."""
    if not label.isascii() or not label.isalnum() or len(label) > 3:
        return None
    try:
        value = int(label, base)
    except ValueError:
        return None
    return value if label == (str(value) if base == 10 else f"{value:x}") else None


def _parts(subnet: str) -> tuple[int, int, int]:
    found = ip_network(subnet)
    return found.version, int(found.network_address) >> found.max_prefixlen - found.prefixlen, found.prefixlen


class Zones:
    """The subnets of a host, asked at the same cost however many there are."""

    def __init__(self, subnets: Iterable[str] = ()) -> None:
        self._held: dict[tuple[int, int], Counter[int]] = {}
        """Family and length of the prefix → prefixes, with how often."""
        self.add(subnets)

    def add(self, subnets: Iterable[str]) -> None:
        for subnet in subnets:
            version, bits, length = _parts(subnet)
            self._held.setdefault((version, length), Counter())[bits] += 1

    def remove(self, subnets: Iterable[str]) -> None:
        """Take back what was added."""
        for subnet in subnets:
            version, bits, length = _parts(subnet)
            held = self._held[version, length]
            held[bits] -= 1
            if not held[bits]:
                del held[bits]
            if not held:
                del self._held[version, length]

    def holds(self, one: ReverseRange) -> bool:
        """Whether all that the name stands for is in one of the subnets."""
        return any(
            version == one.version and length <= one.length and one.bits >> one.length - length in prefixes
            for (version, length), prefixes in self._held.items()
        )
