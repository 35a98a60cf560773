"""Folders of ``RUN --mount=type=cache``: kept between builds, deleted by ``build prune``."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from netd.common import folders
from runtime.build.execute.blocking import in_thread
from runtime.build.plan.run_mounts import RunMount
from runtime.kernel import openat, tree
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete


class CacheMounts:
    def __init__(self, paths: Paths, deferred_delete: DeferredDelete) -> None:
        self._folder = paths.build_mounts
        self._deferred_delete = deferred_delete
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def folder(self, mount: RunMount) -> AsyncIterator[tuple[Path, bool]]:
        """Yield the folder of a cache mount, and whether it is new.

        ``locked`` waits for other users of the folder; ``private`` gets a folder of its own while there are others.
        """
        name = hashlib.sha256(mount.id.encode()).hexdigest()
        lock = self._locks.setdefault(name, asyncio.Lock())
        if mount.sharing == "private" and self._users[name]:
            name = f"{name}-{uuid.uuid4().hex}"
        self._users[name] += 1
        try:
            if mount.sharing == "locked":
                async with lock:
                    yield self._made(name, mount)
            else:
                yield self._made(name, mount)
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                self._locks.pop(name, None)
                if "-" in name:
                    self._deferred_delete.discard(self._folder / name)

    def _made(self, name: str, mount: RunMount) -> tuple[Path, bool]:
        folders.make(self._folder, folders.PRIVATE)
        path = self._folder / name
        if path.exists():
            return path, False
        path.mkdir(mode=0o700)
        handle = openat.open_tree_root(path)
        try:
            os.fchown(handle, mount.uid, mount.gid)
            os.fchmod(handle, mount.mode)
        finally:
            os.close(handle)
        return path, True

    def sizes(self) -> int:
        """Return the bytes of all folders; blocking."""
        return tree.size(self._folder)

    async def prune(self) -> int:
        """Delete the folders that no build uses; return their bytes."""
        freed = 0
        for name in await in_thread(self._names):
            size = await in_thread(tree.size, self._folder / name)
            if name not in self._users:
                freed += size
                self._deferred_delete.discard(self._folder / name)
        return freed

    def _names(self) -> list[str]:
        try:
            handle = openat.open_tree_root(self._folder)
        except FileNotFoundError:
            return []
        try:
            return sorted(openat.names(handle))
        finally:
            os.close(handle)
