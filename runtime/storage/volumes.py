"""Named and anonymous volumes: folders below STATE/volumes that outlive containers.

The only owner of volume records.  The caller keeps track of the containers that use a volume.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from netd.common import folders
from netd.common.errors import BadRequest, Conflict, NoSpace, NotFound, ServerError
from netd.common.events import Bus, event
from netd.common.ids import new_id, now
from netd.common.store.store import Drop, Put, Store
from runtime.kernel import openat, tree
from runtime.paths import Paths
from runtime.record import VolumeRecord
from runtime.storage import copyup, local_volumes
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.local_volumes import LocalMount

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_LONGEST = 255
_LARGEST_OPTIONS = 1 << 20
_KIND = "volume"
_log = logging.getLogger(__name__)

Users = Callable[[], Sequence[str]]


class Volumes:
    def __init__(self, store: Store, paths: Paths, deferred_delete: DeferredDelete, bus: Bus) -> None:
        self._store = store
        self._paths = paths
        self._deferred_delete = deferred_delete
        self._bus = bus
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._claims: Counter[str] = Counter()
        self._mounts: Counter[str] = Counter()
        self._volumes: dict[str, VolumeRecord] = {}

    def load(self) -> None:
        folders.make(self._paths.volumes, folders.CLOSED)
        self._volumes = self._store.load(_KIND, VolumeRecord)

    async def restore(self) -> None:
        """Create records for folders without one, as named volumes without labels: the lost fields are unknown.

        Options are restored from their copy, because without them the folder would be taken for the volume's content.
        """
        for found in sorted(self._paths.volumes.iterdir()):
            if found.name not in self._volumes and _NAME.match(found.name) and self.folder(found.name).is_dir():
                options = await asyncio.to_thread(self._read_options, found.name)
                volume = VolumeRecord(name=found.name, created=now(), options=options)
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
        anonymous: bool = False,
    ) -> VolumeRecord:
        """Return the volume *name*, created if missing; without a name, a new anonymous volume."""
        _check(name, driver)
        local_volumes.check(name, options or {})
        anonymous, name = anonymous or not name, name or new_id()
        async with self._lock(name):
            if found := self._volumes.get(name):
                return found
            volume = VolumeRecord(
                name=name,
                created=now(),
                labels=dict(labels or {}),
                options=dict(options) if options else None,
                anonymous=anonymous,
            )
            await asyncio.to_thread(self._make, volume.name)
            if volume.options:
                await asyncio.to_thread(self._write_options, volume.name, volume.options)
            await self._store.write(Put(_KIND, volume.name, volume))
            self._volumes[volume.name] = volume
        self._publish(volume.name, "create")
        return volume

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Refuse removals of the volume *name* inside the block, in which a container that uses it is being created."""
        self._claims[name] += 1
        try:
            yield
        finally:
            self._claims[name] -= 1
            if not self._claims[name]:
                del self._claims[name]

    async def remove(self, name: str, users: Users = tuple) -> None:
        """Delete the volume and its content.  Raises Conflict with the ids that *users* returns, while it is in use."""
        async with self._lock(name):
            self.find(name)
            if in_use := users():
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(in_use)}]")
            if self._claims[name]:
                raise Conflict(f"remove {name}: volume is in use - [a container that is being created]")
            if self._is_mount(name):
                await asyncio.to_thread(local_volumes.unmount, self.folder(name))
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
            self._mounts.pop(name, None)
            self._deferred_delete.delete(aside)
        self._publish(name, "destroy")

    async def fill(self, name: str, layers: Sequence[str], path: str, users: Users = tuple) -> None:
        """Copy the image's folder *path* into the volume, if that is empty.

        *users* returns the running containers with the volume.
        """
        if self._is_mount(name) and not await asyncio.to_thread(copyup.has_folder, layers, path):
            return
        await self.mount(name)
        try:
            async with self._lock(name):
                await asyncio.to_thread(copyup.fill, self.folder(name), layers, path, self._deferred_delete)
        finally:
            await self.unmount(name, users)

    async def mount(self, name: str) -> None:
        """Mount what the options of the volume name, if anything.  Raises ServerError with Docker's message.

        It stays mounted until :meth:`unmount` was called as often, and while a container runs that uses it.
        """
        if self._is_mount(name):
            async with self._lock(name):
                self._mounts[name] += 1
                try:
                    wanted = await _resolved(local_volumes.plan(self._volumes[name].options))
                    await asyncio.to_thread(self._mount, name, wanted)
                except BaseException:
                    self._mounts[name] -= 1
                    raise

    async def unmount(self, name: str, users: Users) -> None:
        """Undo :meth:`mount`; *users* returns the running containers with the volume."""
        if self._is_mount(name):
            async with self._lock(name):
                # A restart of the daemon forgets the number.
                self._mounts[name] = max(self._mounts[name] - 1, 0)
                if not self._mounts[name] and not users():
                    await asyncio.to_thread(local_volumes.unmount, self.folder(name))

    def _is_mount(self, name: str) -> bool:
        return name in self._volumes and local_volumes.plan(self._volumes[name].options) is not None

    def _mount(self, name: str, wanted: LocalMount | None) -> None:
        self._make(name)
        if wanted is not None:
            local_volumes.mount(wanted, self.folder(name))

    def _write_options(self, name: str, options: Mapping[str, str]) -> None:
        openat.overwrite_path(self._paths.volume_options(name), msgspec.json.encode(options))

    def _read_options(self, name: str) -> dict[str, str] | None:
        try:
            return msgspec.json.decode(
                openat.read_path(self._paths.volume_options(name), _LARGEST_OPTIONS), type=dict[str, str]
            )
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("options of volume not restored: volume=%s error=%s", name, error)
            return None

    def _lock(self, name: str) -> asyncio.Lock:
        """Return the lock of one volume: a long copy or a mount that hangs delays nothing else."""
        return self._locks.setdefault(name, asyncio.Lock())

    def size(self, name: str) -> int:
        """Return the size in bytes of all files; blocking, walks the volume, to be called in a thread."""
        return tree.size(self.folder(name))

    def publish_mount(self, name: str, container: str, destination: str, *, writable: bool, mode: str) -> None:
        """Publish Docker's event for a volume that a starting container mounts."""
        more = {"destination": destination, "propagation": mode, "read/write": str(writable).lower()}
        self._publish(name, "mount", container=container, **more)

    def publish_unmount(self, name: str, container: str) -> None:
        """Publish Docker's event for a volume of a container that has ended."""
        self._publish(name, "unmount", container=container)

    def publish_prune(self, freed: int) -> None:
        self._bus.publish(event("volume", "prune", "", {"reclaimed": str(freed)}))

    def _publish(self, name: str, action: str, **attributes: str) -> None:
        self._bus.publish(event("volume", action, name, {"driver": "local", **attributes}))

    def _make(self, name: str) -> None:
        folder = self._paths.volumes / name
        folders.make(folder, folders.CLOSED)
        data = self.folder(name)
        if not data.exists():
            data.mkdir()
            data.chmod(0o755)


async def _resolved(wanted: LocalMount | None) -> LocalMount | None:
    """Resolve the name of a file server.  Raises ServerError with Docker's message."""
    if wanted is None or not (host := local_volumes.host_of(wanted)):
        return wanted
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError as error:
        raise ServerError(f"error resolving passed in network volume address: lookup {host}: {error}") from None
    return local_volumes.with_address(wanted, str(found[0][4][0]))


def _check(name: str, driver: str) -> None:
    if name and (not _NAME.match(name) or len(name) > _LONGEST):
        raise BadRequest(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only'
            ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if driver not in ("", "local"):
        raise NotFound(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found: volume plugins are'
            " not supported, use local"
        )
