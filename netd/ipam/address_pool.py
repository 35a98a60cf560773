"""The addresses of one pool: who has which, whose it will be, and which is next.

An index that is rebuilt from the records at start.  Addresses that nobody has had yet are given first, lowest first;
then those that were given back, in the order in which they were: peers' caches have had the longest time to forget
them.  Every question costs the same in a /16 as in a /28 and in a /64, however many are taken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from ipaddress import IPv4Address, IPv6Address

from netd.common.addresses import Address
from netd.ipam.pool_spec import edges
from netd.model import Pool

GATEWAY = "gateway"
EDGE = "edge"
AUXILIARY = "auxiliary"
"""Holders of addresses that no endpoint can have."""
MOST = (1 << 64) - 1
"""As far as Docker counts."""


class AddressTaken(Exception):
    """The address belongs to ``holder``: an endpoint's sandbox, or the words for what else it is."""

    def __init__(self, address: Address, holder: str) -> None:
        super().__init__(f"{address} is taken by {holder}")
        self.address = address
        self.holder = holder


class Exhausted(Exception):
    """No address is free where addresses are chosen from."""


class AddressPool:
    def __init__(self, pool: Pool) -> None:
        self.subnet = pool.subnet
        self._kind = IPv4Address if pool.subnet.version == 4 else IPv6Address
        chosen_from = pool.ip_range or pool.subnet
        self._lowest = int(chosen_from.network_address)
        self._highest = int(chosen_from.broadcast_address)
        self._holders: dict[int, str] = {}
        self._declared: dict[int, list[str]] = {}
        """Who is to have an address while it runs, whoever declared it first in front."""
        self._next = self._lowest
        """From here on nothing has been chosen yet; what is free below is in ``_freed``."""
        self._freed: OrderedDict[int, None] = OrderedDict()
        """Those that somebody has had and nobody has or declared, the longest free in front."""
        for address in edges(pool.subnet):
            self._holders[int(address)] = EDGE
        for address in pool.auxiliary.values():
            self._holders[int(address)] = AUXILIARY
        if pool.gateway is not None:
            self._holders[int(pool.gateway)] = GATEWAY

    @property
    def in_use(self) -> int:
        """Count all addresses of the subnet that are not free, its own, the gateway and auxiliary ones included."""
        return len(self._spoken_for())

    @property
    def available(self) -> int:
        """Count the addresses that can still be chosen, up to ``MOST``."""
        gone = sum(self._lowest <= number <= self._highest for number in self._spoken_for())
        return min(self._highest - self._lowest + 1 - gone, MOST)

    def take(self, address: Address, holder: str) -> None:
        """Give *address* to *holder*.  Raises AddressTaken when somebody has it or declared it before."""
        number = int(address)
        other = self._holders.get(number) or self._owner(number)
        if other is not None and (other != holder or number in self._holders):
            raise AddressTaken(address, other)
        self._holders[number] = holder
        self._freed.pop(number, None)

    def take_if_free(self, address: Address, holder: str) -> bool:
        """Give *address* to *holder* if it could have been chosen, and tell whether it was."""
        number = int(address)
        if not (self._lowest <= number <= self._highest and self._is_free(number)):
            return False
        self.take(address, holder)
        return True

    def take_next(self, holder: str) -> Address:
        """Give the next address to *holder*.  Raises Exhausted."""
        number = self._pop_new()
        if number is None:
            if not self._freed:
                raise Exhausted
            number, _ = self._freed.popitem(last=False)
        self._holders[number] = holder
        return self._kind(number)

    def release(self, address: Address) -> None:
        """Take the address back; one that nobody has is no error."""
        if self._holders.pop(int(address), None) is not None:
            self.mark_used(address)

    def return_unused(self, address: Address) -> None:
        """Take back what was given just now and nobody has used: it is the next again."""
        number = int(address)
        self._holders.pop(number, None)
        if number == self._next - 1:
            self._next = number
        elif self._lowest <= number < self._next and self._is_free(number):
            self._freed[number] = None
            self._freed.move_to_end(number, last=False)

    def mark_used(self, address: Address) -> None:
        """Put the address last in line, if it is free: somebody has had it just now."""
        number = int(address)
        if self._lowest <= number <= self._highest and self._is_free(number):
            self._freed[number] = None
            self._freed.move_to_end(number)

    def declare(self, address: Address, owner: str) -> None:
        """Keep the address for *owner*, after those who declared it before and whoever has it now."""
        self._freed.pop(int(address), None)
        owners = self._declared.setdefault(int(address), [])
        if owner not in owners:
            owners.append(owner)

    def undeclare(self, address: Address, owner: str) -> None:
        """Keep the address for *owner* no longer; where it did not declare it that is no error."""
        owners = self._declared.get(int(address), [])
        if owner in owners:
            owners.remove(owner)
        if not owners and self._declared.pop(int(address), None) is not None:
            self.mark_used(address)

    def _spoken_for(self) -> Set[int]:
        return self._holders.keys() | self._declared.keys()

    def _owner(self, number: int) -> str | None:
        owners = self._declared.get(number)
        return owners[0] if owners else None

    def _pop_new(self) -> int | None:
        """Return the lowest address that nobody has had."""
        while self._next <= self._highest:
            number = self._next
            self._next += 1
            if self._is_free(number) and number not in self._freed:
                return number
        return None

    def _is_free(self, number: int) -> bool:
        return number not in self._holders and number not in self._declared
