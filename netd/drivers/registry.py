"""Finding drivers: those of netd itself, and those that installed packages bring."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netd.common import entry_points
from netd.common.errors import NotFound
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
        """Return the driver.  Raises NotFound in Docker's words, with those that there are."""
        if (found := self._drivers.get(name)) is None:
            raise NotFound(f'plugin "{name}" not found')
        return found

    def add(self, name: str, driver: Driver) -> None:
        """Make a driver known that was found later."""
        self._drivers[name] = driver

    def has(self, name: str) -> bool:
        """Tell whether there is a driver of that name, installed and not only expected."""
        return name in self._drivers and not self._drivers[name].traits.absent

    def expect(self, name: str) -> None:
        """Let networks of a driver that is not installed any more be listed and removed, and nothing else."""
        if name not in self._drivers:
            _log.error("driver=%s missing=true: install the package that brought it", name)
            self._drivers[name] = AbsentDriver()


class AbsentDriver(BareDriver):
    """Stands in for a driver that networks were made with and that is gone."""

    traits = Traits(absent=True)


def discover() -> Drivers:
    """Return netd's own drivers and those of every installed package."""
    own: dict[str, Driver] = {
        "bridge": BridgeDriver(),
        "host": HostDriver(),
        "macvlan": MacvlanDriver(),
        "null": NullDriver(),
    }
    return Drivers(own | entry_points.load_drivers(GROUP, _checked, own))


def _checked(made: object) -> Driver:
    if not isinstance(made, Driver):
        raise TypeError("it does not have all that a driver needs")
    return made
