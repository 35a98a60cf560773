"""The addresses of one network: who has which, and which is next.

An index that is rebuilt from the records at start.  The lowest free address costs the same in a /16 as in a /28,
however many are taken and in whatever order they were given back.
"""

from __future__ import annotations

import heapq
from ipaddress import IPv4Address, IPv6Address

from netd.common.addresses import Address
from netd.ipam.spec import edges
from netd.model import Pool

GATEWAY = "gateway"
EDGE = "edge"
AUXILIARY = "auxiliary"
"""Holders of addresses that no endpoint can have."""


class AddressTaken(Exception):
    """The address belongs to ``holder``: an endpoint's sandbox, or the words for what else it is."""

    def __init__(self, address: Address, holder: str) -> None:
        super().__init__(f"{address} is taken by {holder}")
        self.address = address
        self.holder = holder


class Exhausted(Exception):
    """No address is free where addresses are chosen from."""


class Addresses:
    def __init__(self, pool: Pool) -> None:
        self.subnet = pool.subnet
        self._kind = IPv4Address if pool.subnet.version == 4 else IPv6Address
        chosen_from = pool.ip_range or pool.subnet
        self._lowest = int(chosen_from.network_address)
        self._highest = int(chosen_from.broadcast_address)
        self._holders: dict[int, str] = {}
        self._next = self._lowest
        """From here on nothing has been chosen yet; all free addresses below are in ``_freed``."""
        self._freed: list[int] = []
        self._listed: set[int] = set()
        for address in edges(pool.subnet):
            self._holders[int(address)] = EDGE
        for address in pool.auxiliary.values():
            self._holders[int(address)] = AUXILIARY
        if pool.gateway is not None:
            self._holders[int(pool.gateway)] = GATEWAY

    def take(self, address: Address, holder: str) -> None:
        """Give *address* to *holder*.  Raises AddressTaken."""
        if (other := self._holders.get(int(address))) is not None:
            raise AddressTaken(address, other)
        self._holders[int(address)] = holder

    def take_lowest(self, holder: str) -> Address:
        """Give the lowest free address to *holder*.  Raises Exhausted."""
        found = self._pop_freed()
        while found is None:
            if self._next > self._highest:
                raise Exhausted
            if self._next not in self._holders:
                found = self._next
            self._next += 1
        self._holders[found] = holder
        return self._kind(found)

    def release(self, address: Address) -> None:
        """Take the address back; one that nobody has is no error."""
        number = int(address)
        if self._holders.pop(number, None) is None:
            return
        if self._lowest <= number < self._next and number not in self._listed:
            self._listed.add(number)
            heapq.heappush(self._freed, number)

    def _pop_freed(self) -> int | None:
        """Return the lowest address that was given back and has not been asked for by itself since."""
        while self._freed:
            number = heapq.heappop(self._freed)
            self._listed.discard(number)
            if number not in self._holders:
                return number
        return None
