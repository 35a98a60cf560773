"""The null driver: containers on its one network, ``none``, have loopback and nothing else."""

from __future__ import annotations

from netd.drivers import Traits
from netd.drivers.bare import BareDriver


class NullDriver(BareDriver):
    traits = Traits(addressed=False, single=True)
