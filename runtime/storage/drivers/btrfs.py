"""The driver ``btrfs``: the root of a container is a snapshot of a subvolume that holds the files of its image.

The subvolume of an image is created with its first container, in ``STATE/btrfs``, under the name of its top layer.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from netd.common import folders
from netd.common.errors import BadRequest
from runtime.kernel import subvolumes
from runtime.paths import ContainerPaths, Paths
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers.copies import CompleteRoots, make_folders

_UNFINISHED = "new-"
_log = logging.getLogger(__name__)


class Btrfs(CompleteRoots):
    name = "btrfs"

    def __init__(self, paths: Paths, deferred_delete: DeferredDelete) -> None:
        super().__init__(deferred_delete)
        self._images, self._layers = paths.state / "btrfs", paths.layers
        self._lock = threading.Lock()

    def status(self) -> list[tuple[str, str]]:
        return [("Btrfs", "")]

    def check_size(self) -> None:
        """Every root can have a limit."""

    def prepare(self, own: ContainerPaths, layers: Sequence[str], size: int = 0) -> None:
        make_folders(own)
        if own.upper.exists():
            return
        with self._lock:
            subvolumes.snapshot(self._image(layers), own.upper.parent, own.upper.name)
        if size:
            _limit(own.upper, size)

    def destroy(self, folder: Path) -> None:
        """Delete the snapshot, which is much faster than deleting its files; what remains is deleted file by file."""
        with suppress(FileNotFoundError):
            _destroy(folder, "diff")

    def sweep(self) -> None:
        with self._lock:
            self._sweep()

    def _sweep(self) -> None:
        for name in os.listdir(self._images) if self._images.exists() else ():
            if not (self._layers / name).exists():
                _destroy(self._images, name)

    def _image(self, layers: Sequence[str]) -> Path:
        """Return the subvolume of the image, created if missing."""
        image = self._images / Path(layers[0]).name
        if image.exists():
            return image
        folders.make(self._images, folders.PRIVATE)
        self._sweep()
        fresh = self._images / f"{_UNFINISHED}{uuid.uuid4().hex}"
        subvolumes.create(fresh.parent, fresh.name)
        try:
            self.copy_image(layers, fresh)
            fresh.rename(image)
        except BaseException:
            _destroy(self._images, fresh.name)
            raise
        return image


def _destroy(folder: Path, name: str) -> None:
    """Delete a subvolume; one that contains subvolumes is logged and left to be deleted file by file."""
    try:
        subvolumes.destroy(folder, name)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EINVAL, errno.ENOTTY, errno.EPERM):
            raise
        _log.warning("subvolume not deleted: path=%s error=%s", folder / name, error.strerror)


def _limit(path: Path, size: int) -> None:
    try:
        subvolumes.limit(path, size)
    except OSError as error:
        raise BadRequest(
            f"--storage-opt size cannot be applied, because quotas of {path} cannot be set ({error.strerror}): leave it"
            " out"
        ) from None
