"""The registry of network drivers: netd's own, those of installed packages, and plugins in use."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netd.common import entry_points
from netd.common.errors import no_driver
from netd.drivers import Driver, Traits
from netd.drivers.bare import BareDriver
from netd.drivers.bridge import BridgeDriver
from netd.drivers.host import HostDriver
from netd.drivers.macvlan import MacvlanDriver
from netd.drivers.null import NullDriver

GROUP = "netd.drivers"
_log = logging.getLogger(__name__)


class Drivers:
    """All drivers by name."""

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        self._drivers = dict(drivers)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._drivers))

    def get(self, name: str) -> Driver:
        """Return the driver.  Raises NotFound with Docker's message."""
        if (found := self._drivers.get(name)) is None:
            raise no_driver(name, filter(self.has, self.names))
        return found

    def add(self, name: str, driver: Driver) -> None:
        """Register a driver."""
        self._drivers[name] = driver

    def has(self, name: str) -> bool:
        """Return True if a driver of that name is installed."""
        return name in self._drivers and not self._drivers[name].traits.absent

    def expect(self, name: str) -> None:
        """Register a placeholder for a driver that is not installed: its networks can be listed and removed only."""
        if name not in self._drivers:
            _log.error("driver is not installed; install its package: driver=%s", name)
            self._drivers[name] = AbsentDriver()


class AbsentDriver(BareDriver):
    """The placeholder for the driver of existing networks that is not installed any more."""

    traits = Traits(absent=True)


def discover() -> Drivers:
    """Return netd's own drivers and those of all installed packages."""
    own: dict[str, Driver] = {
        "bridge": BridgeDriver(),
        "host": HostDriver(),
        "macvlan": MacvlanDriver(),
        "null": NullDriver(),
    }
    return Drivers(own | entry_points.load_drivers(GROUP, _checked, own))


def _checked(driver: object) -> Driver:
    if not isinstance(driver, Driver):
        raise TypeError("it lacks attributes of netd.drivers.Driver")
    return driver
