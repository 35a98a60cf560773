"""IPAM drivers: where networks' subnets and addresses come from when it is not netd that chooses them.

``default`` is netd's own choice and ``null`` none at all.  Any installed package adds a driver through an entry point
of the group ``netd.ipam``: its name is the driver's, and it names a class made without arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from netd.common import entry_points
from netd.common.addresses import Address, Family, Interface, Subnet
from netd.common.errors import NotFound

T = TypeVar("T")
Soon: TypeAlias = T | Awaitable[T]
"""A driver may answer at once or later."""

DEFAULT, NULL = "default", "null"
GROUP = "netd.ipam"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    family: Family
    subnet: Subnet | None = None
    """None leaves the choice to the driver."""
    ip_range: Subnet | None = None
    """Where addresses are to be chosen from, within *subnet*."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The user's ``--ipam-opt``."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A pool of a driver's."""

    id: str
    """What the driver calls it from now on; not ""."""
    subnet: Subnet
    gateway: Address | None = None
    """The one that comes with the pool; None has it asked for as an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRequest:
    address: Address | None = None
    """None leaves the choice to the driver."""
    gateway: bool = False
    """It is to be the network's gateway."""
    mac: str = ""
    """Of the endpoint that gets the address; "" for the gateway and auxiliary addresses."""


@runtime_checkable
class IpamDriver(Protocol):
    """Every method may be a coroutine function or answer at once; a Problem raised is what the user gets to see.

    Addresses that come from a driver are told to it again at no other time: pools and addresses are in netd's records
    and outlive both.  A driver that keeps nothing itself asks for ``replay``.
    """

    replay: bool
    """After every start of netd the driver is asked again for all pools, gateways and addresses in use."""

    def request_pool(self, asked: PoolRequest) -> Soon[Granted]:
        """Return a pool; repeated for one that overlaps another network's, it is a different one each time."""

    def release_pool(self, pool: str) -> Soon[None]:
        """Take a pool back; one that is not known is no error."""

    def request_address(self, pool: str, asked: AddressRequest) -> Soon[Interface]:
        """Return an address with the length of the subnet's prefix."""

    def release_address(self, pool: str, address: Address) -> Soon[None]:
        """Take an address back; one that nobody has is no error."""


async def answer(soon: Soon[T]) -> T:
    """Return what a driver's method came to."""
    return await soon if inspect.isawaitable(soon) else soon


class IpamDrivers:
    """The drivers by name, besides the two that are netd's own."""

    def __init__(self, drivers: Mapping[str, IpamDriver] | None = None) -> None:
        self._drivers = dict(drivers or {})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted((DEFAULT, NULL, *self._drivers)))

    def get(self, name: str) -> IpamDriver | None:
        """Return the driver; None for netd's own.  Raises NotFound in Docker's words."""
        if name in (DEFAULT, NULL):
            return None
        if (found := self._drivers.get(name)) is None:
            raise NotFound(f'plugin "{name}" not found')
        return found

    def add(self, name: str, driver: IpamDriver) -> None:
        """Make a driver known, in place of one that had the name."""
        self._drivers[name] = driver


def discover() -> IpamDrivers:
    """Return the drivers of every installed package."""
    return IpamDrivers(entry_points.load_drivers(GROUP, _checked, (DEFAULT, NULL)))


def _checked(made: object) -> IpamDriver:
    if not isinstance(made, IpamDriver):
        raise TypeError("it does not have all that an IPAM driver needs")
    return made
