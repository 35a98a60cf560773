"""The host driver: containers on its one network share the host's network namespace."""

from __future__ import annotations

from netd.drivers import Traits
from netd.drivers.bare import BareDriver


class HostDriver(BareDriver):
    traits = Traits(addressed=False, on_host=True, single=True)
