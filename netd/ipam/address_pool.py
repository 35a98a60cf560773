"""The addresses of one pool: their holders, declared static addresses, and the next address to allocate.

An index that is rebuilt from the records at start.  Addresses that were never used are allocated first, the lowest
first; then released ones, the least recently used first, so that neighbour caches of peers have expired.  The cost of
allocation and release depends neither on the size of the subnet nor on the number of addresses in use.
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
"""The largest number that Docker's counts can express (uint64)."""


class AddressTaken(Exception):
    """``holder`` uses the address or declared it: a container's id, or ``GATEWAY``, ``EDGE`` or ``AUXILIARY``."""

    def __init__(self, address: Address, holder: str) -> None:
        super().__init__(f"{address} is taken by {holder}")
        self.address = address
        self.holder = holder


class Exhausted(Exception):
    """The range for allocation has no free address."""


class AddressPool:
    """The holders of a pool's addresses, and the order of allocation."""

    def __init__(self, pool: Pool) -> None:
        self.subnet = pool.subnet
        self._kind = IPv4Address if pool.subnet.version == 4 else IPv6Address
        allocation_range = pool.ip_range or pool.subnet
        self._lowest = int(allocation_range.network_address)
        self._highest = int(allocation_range.broadcast_address)
        self._holders: dict[int, str] = {}
        self._declared: dict[int, list[str]] = {}
        """Address → ids of containers that declared it as their static address, in order of declaration."""
        self._next = self._lowest
        """The lowest address that was never allocated; free addresses below it are in ``_freed``."""
        self._freed: OrderedDict[int, None] = OrderedDict()
        """Released addresses that are neither in use nor declared, the least recently used first."""
        for address in edges(pool.subnet):
            self._holders[int(address)] = EDGE
        for address in pool.auxiliary.values():
            self._holders[int(address)] = AUXILIARY
        if pool.gateway is not None:
            self._holders[int(pool.gateway)] = GATEWAY

    @property
    def in_use(self) -> int:
        """Return the number of addresses that are not free; edges, gateway and auxiliary addresses included."""
        return len(self._unavailable())

    @property
    def available(self) -> int:
        """Return the number of addresses that can be allocated, up to ``MOST``."""
        unavailable = sum(self._lowest <= number <= self._highest for number in self._unavailable())
        return min(self._highest - self._lowest + 1 - unavailable, MOST)

    def take(self, address: Address, holder: str) -> None:
        """Assign *address* to *holder*.  Raises AddressTaken if another sandbox uses it or declared it first."""
        number = int(address)
        other = self.holder(address)
        if other is not None and (other != holder or number in self._holders):
            raise AddressTaken(address, other)
        self._holders[number] = holder
        self._freed.pop(number, None)

    def holder(self, address: Address) -> str | None:
        """Return what uses or declared *address*, as in AddressTaken; None if it is free."""
        number = int(address)
        return self._holders.get(number) or self._owner(number)

    def take_if_free(self, address: Address, holder: str) -> bool:
        """Assign *address* to *holder* if it is free and in the allocation range; return True if assigned."""
        number = int(address)
        if not (self._lowest <= number <= self._highest and self._is_free(number)):
            return False
        self.take(address, holder)
        return True

    def take_next(self, holder: str) -> Address:
        """Assign the next free address to *holder* and return it.  Raises Exhausted."""
        number = self._pop_new()
        if number is None:
            if not self._freed:
                raise Exhausted
            number, _ = self._freed.popitem(last=False)
        self._holders[number] = holder
        return self._kind(number)

    def release(self, address: Address) -> None:
        """Release the address; ignored if it is not in use."""
        if self._holders.pop(int(address), None) is not None:
            self.mark_used(address)

    def return_unused(self, address: Address) -> None:
        """Release an address that no endpoint used after its allocation; it is allocated next."""
        number = int(address)
        self._holders.pop(number, None)
        if number == self._next - 1:
            self._next = number
        elif self._lowest <= number < self._next and self._is_free(number):
            self._freed[number] = None
            self._freed.move_to_end(number, last=False)

    def mark_used(self, address: Address) -> None:
        """Queue the address, if it is free, behind all other free addresses."""
        number = int(address)
        if self._lowest <= number <= self._highest and self._is_free(number):
            self._freed[number] = None
            self._freed.move_to_end(number)

    def declare(self, address: Address, owner: str) -> None:
        """Reserve the address for *owner*; the current holder and earlier declarations take precedence."""
        self._freed.pop(int(address), None)
        owners = self._declared.setdefault(int(address), [])
        if owner not in owners:
            owners.append(owner)

    def undeclare(self, address: Address, owner: str) -> None:
        """Remove the reservation of *owner*; ignored without one."""
        owners = self._declared.get(int(address), [])
        if owner in owners:
            owners.remove(owner)
        if not owners and self._declared.pop(int(address), None) is not None:
            self.mark_used(address)

    def _unavailable(self) -> Set[int]:
        return self._holders.keys() | self._declared.keys()

    def _owner(self, number: int) -> str | None:
        owners = self._declared.get(number)
        return owners[0] if owners else None

    def _pop_new(self) -> int | None:
        """Return the lowest address that was never used; None if there is none."""
        while self._next <= self._highest:
            number = self._next
            self._next += 1
            if self._is_free(number) and number not in self._freed:
                return number
        return None

    def _is_free(self, number: int) -> bool:
        return number not in self._holders and number not in self._declared
