"""IPAM drivers: allocators of subnets and addresses other than netd's own.

``default`` is netd's own allocator, ``null`` allocates nothing.  An installed package adds a driver by an entry point
of the group ``netd.ipam``; the entry point's name is the driver's name, its object a class without constructor
arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from netd.common import entry_points
from netd.common.addresses import Address, Family, Interface, Subnet
from netd.common.errors import no_driver

T = TypeVar("T")
Soon: TypeAlias = T | Awaitable[T]
"""A result, or an awaitable of it: methods of drivers may be coroutine functions."""

DEFAULT, NULL = "default", "null"
GROUP = "netd.ipam"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """The arguments of a pool request."""

    family: Family
    subnet: Subnet | None = None
    """None: the driver chooses."""
    ip_range: Subnet | None = None
    """The range for allocation, within *subnet*."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The user's ``--ipam-opt``."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A pool that a driver has allocated."""

    id: str
    """The driver's name of the pool; not empty."""
    subnet: Subnet
    gateway: Address | None = None
    """The gateway of the pool; None: netd requests an address for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRequest:
    """The arguments of an address request."""

    address: Address | None = None
    """None: the driver chooses."""
    gateway: bool = False
    """The address is for the network's gateway."""
    mac: str = ""
    """The MAC of the endpoint; empty for gateways and auxiliary addresses."""


@runtime_checkable
class IpamDriver(Protocol):
    """Every method may be a coroutine function; a Problem that it raises is the user's error message.

    Pools and addresses are stored in netd's records, which survive restarts of netd and of the driver; without
    ``replay``, netd does not repeat requests for them.  A driver without a store of its own sets ``replay``.
    """

    replay: bool
    """At every start, netd repeats the requests for all pools, gateways and addresses in use."""

    def request_pool(self, asked: PoolRequest) -> Soon[Granted]:
        """Allocate a pool.  netd repeats the request if the pool overlaps a network; the result must differ then."""

    def release_pool(self, pool: str) -> Soon[None]:
        """Release a pool; an unknown one is not an error."""

    def request_address(self, pool: str, asked: AddressRequest) -> Soon[Interface]:
        """Allocate an address; return it with the prefix length of the subnet."""

    def release_address(self, pool: str, address: Address) -> Soon[None]:
        """Release an address; a free one is not an error."""


async def answer(soon: Soon[T]) -> T:
    """Return the result of a driver's method."""
    return await soon if inspect.isawaitable(soon) else soon


class IpamDrivers:
    """The drivers by name, in addition to ``default`` and ``null``."""

    def __init__(self, drivers: Mapping[str, IpamDriver] | None = None) -> None:
        self._drivers = dict(drivers or {})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted((DEFAULT, NULL, *self._drivers)))

    def get(self, name: str) -> IpamDriver | None:
        """Return the driver; None for ``default`` and ``null``.  Raises NotFound with Docker's message."""
        if name in (DEFAULT, NULL):
            return None
        if (found := self._drivers.get(name)) is None:
            raise no_driver(name, self.names)
        return found

    def add(self, name: str, driver: IpamDriver) -> None:
        """Register a driver; replaces a driver of that name."""
        self._drivers[name] = driver


def discover() -> IpamDrivers:
    """Return the drivers of all installed packages."""
    return IpamDrivers(entry_points.load_drivers(GROUP, _checked, (DEFAULT, NULL)))


def _checked(driver: object) -> IpamDriver:
    if not isinstance(driver, IpamDriver):
        raise TypeError("it lacks attributes of netd.ipam.drivers.IpamDriver")
    return driver
