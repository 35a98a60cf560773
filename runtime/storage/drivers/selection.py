"""Storage drivers by name, and the reasons for which others are refused."""

from __future__ import annotations

from netd.common.errors import BadRequest
from runtime.kernel import subvolumes
from runtime.paths import Paths
from runtime.record import ContainerRecord
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers import RootDriver
from runtime.storage.drivers.btrfs import Btrfs
from runtime.storage.drivers.copies import Vfs
from runtime.storage.drivers.overlay2 import Overlay2

_NAMES = ("overlay2", "overlay", "vfs", "btrfs")
_REFUSED = {
    "aufs": "the kernel has no aufs, which was never part of Linux",
    "devicemapper": "thin pools of the device mapper are not supported",
    "fuse-overlayfs": "the daemon runs as root and mounts overlayfs itself",
    "zfs": "zfs is not part of Linux",
}
_REMEDY = 'set storage_driver = "overlay2", which works on every file system that overlayfs can use, or "vfs"'


def check_name(name: str) -> None:
    """Raise BadRequest for a driver that is not supported."""
    if name not in _NAMES:
        reason = _REFUSED.get(name, "it is not known")
        raise BadRequest(f"the storage driver {name} is not supported by netd-runtime: {reason}; {_REMEDY}")


class StorageDrivers:
    """The driver for new containers, and those of existing ones, which keep the driver that they were created with."""

    def __init__(self, name: str, paths: Paths, deferred_delete: DeferredDelete) -> None:
        """Raises BadRequest for a driver that is unknown, or cannot work here."""
        overlay2 = Overlay2(paths)
        self._drivers: dict[str, RootDriver] = {
            "overlay2": overlay2,
            "overlay": overlay2,
            "vfs": Vfs(deferred_delete),
            "btrfs": Btrfs(paths, deferred_delete),
        }
        check_name(name)
        if name == "btrfs" and not subvolumes.is_btrfs(paths.state):
            raise BadRequest(
                f"the storage driver btrfs needs the state directory on btrfs, and {paths.state} is on another file"
                f" system: move it, or {_REMEDY}"
            )
        self.default = self._drivers[name]

    def of(self, name: str) -> RootDriver:
        """Return the driver of a container by the name in its record."""
        return self._drivers[name]

    def size(self, paths: Paths, record: ContainerRecord) -> int:
        """Return the bytes of the files that the container has added or modified; blocking."""
        return self.of(record.driver).size(paths.container(record.id), paths.layer_folders(record.layers))

    def sweep(self) -> None:
        """Delete what drivers keep for images that no longer exist; blocking."""
        for driver in self._drivers.values():
            driver.sweep()
