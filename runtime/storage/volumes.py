"""Named and anonymous volumes: folders below STATE/volumes that outlive containers.

The only owner of volume records.  The caller keeps track of the containers that use a volume.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from netd.common import folders
from netd.common.errors import BadRequest, NoSpace, NotFound
from netd.common.events import Bus, event
from netd.common.ids import new_id, now
from netd.common.store.store import Drop, Put, Store
from runtime.kernel import tree
from runtime.paths import Paths
from runtime.record import VolumeRecord
from runtime.storage import copyup
from runtime.storage.deferred_delete import DeferredDelete

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_LONGEST = 255
_KIND = "volume"
_log = logging.getLogger(__name__)


class Volumes:
    def __init__(self, store: Store, paths: Paths, deferred_delete: DeferredDelete, bus: Bus) -> None:
        self._store = store
        self._paths = paths
        self._deferred_delete = deferred_delete
        self._bus = bus
        self._lock = asyncio.Lock()
        self._volumes: dict[str, VolumeRecord] = {}

    def load(self) -> None:
        folders.make(self._paths.volumes, folders.CLOSED)
        self._volumes = self._store.load(_KIND, VolumeRecord)

    async def restore(self) -> None:
        """Create records for folders without one, as named volumes without labels: the lost fields are unknown."""
        for found in sorted(self._paths.volumes.iterdir()):
            if found.name not in self._volumes and _NAME.match(found.name) and self.folder(found.name).is_dir():
                volume = VolumeRecord(name=found.name, created=now())
                await self._store.write(Put(_KIND, volume.name, volume))
                self._volumes[volume.name] = volume
                _log.warning("volume restored from its folder: volume=%s", volume.name)

    def all(self) -> list[VolumeRecord]:
        return list(self._volumes.values())

    def find(self, name: str) -> VolumeRecord:
        if name not in self._volumes:
            raise NotFound(f"get {name}: no such volume")
        return self._volumes[name]

    def exists(self, name: str) -> bool:
        return name in self._volumes

    def folder(self, name: str) -> Path:
        return self._paths.volume(name)

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        """Return the volume *name*, created if missing; without a name, a new anonymous volume."""
        _check(name, driver, options)
        async with self._lock:
            if found := self._volumes.get(name):
                return found
            volume = VolumeRecord(name=name or new_id(), created=now(), labels=dict(labels or {}), anonymous=not name)
            await asyncio.to_thread(self._make, volume.name)
            await self._store.write(Put(_KIND, volume.name, volume))
            self._volumes[volume.name] = volume
        self._publish(volume.name, "create")
        return volume

    async def remove(self, name: str) -> None:
        """Delete the volume and its content; the caller has checked that no container uses it."""
        async with self._lock:
            self.find(name)
            folder = self._paths.volumes / name
            aside = self._deferred_delete.rename_aside(folder)
            try:
                await self._store.write(Drop(_KIND, name))
            except NoSpace:
                # On a full disk even the removal of a record needs space, which deleting the volume provides.
                await self._deferred_delete.delete(aside)
                await self._store.write(Drop(_KIND, name))
            except BaseException:
                if aside.exists():
                    aside.rename(folder)
                raise
            del self._volumes[name]
            self._deferred_delete.delete(aside)
        self._publish(name, "destroy")

    async def fill(self, name: str, layers: Sequence[str], path: str) -> None:
        """Copy the image's folder *path* into the volume, if that is empty."""
        async with self._lock:
            await asyncio.to_thread(copyup.fill, self.folder(name), layers, path, self._deferred_delete)

    def size(self, name: str) -> int:
        """Return the size in bytes of all files; blocking, walks the volume, to be called in a thread."""
        return tree.size(self.folder(name))

    def _publish(self, name: str, action: str, **attributes: str) -> None:
        self._bus.publish(event("volume", action, name, {"driver": "local", **attributes}))

    def _make(self, name: str) -> None:
        folder = self._paths.volumes / name
        folders.make(folder, folders.CLOSED)
        data = self.folder(name)
        data.mkdir(exist_ok=True)
        data.chmod(0o755)


def _check(name: str, driver: str, options: Mapping[str, str] | None) -> None:
    if name and (not _NAME.match(name) or len(name) > _LONGEST):
        raise BadRequest(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only'
            ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if driver not in ("", "local"):
        raise NotFound(f"create {name}: volume driver {driver!r} is not known here; use local")
    if options:
        option = next(iter(options))
        raise BadRequest(f"create {name}: volume option {option!r} is not known to the local driver here; leave it out")
