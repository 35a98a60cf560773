"""Deferred deletion of folders: renames them at once, and deletes them in a thread.

After a crash, the scratch folder is emptied at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from netd.common import folders
from netd.common.tasks import Tasks
from runtime.kernel import tree

_log = logging.getLogger(__name__)
_THREADS = 2
_PAUSES = (0.5, 3.0)
"""Seconds before a failed deletion is tried again; after that it is left to the next start."""


class DeferredDelete:
    """Renames folders into *scratch*, which must be on the same file system, and deletes them there."""

    def __init__(self, scratch: Path, tasks: Tasks | None = None) -> None:
        self._tasks = tasks or Tasks()
        self._scratch = scratch
        # A pool of its own, because trees of millions of files would occupy the threads that starts of containers need.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="delete")
        self._jobs: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Create the scratch folder, and delete its content, which an earlier run has left."""
        folders.make(self._scratch, folders.PRIVATE)
        for left in self._scratch.iterdir():
            self.delete(left)

    def scratch_path(self, what: str) -> Path:
        """Return an unused path in the scratch folder for a folder that is being created."""
        return self._scratch / f"{what}-{uuid.uuid4().hex}"

    def discard(self, path: Path, before: Callable[[Path], None] | None = None) -> None:
        """Rename *path* into the scratch folder, if it exists, and begin to delete it.

        *before* is called first, in the thread that deletes, with the new path.
        """
        self.delete(self.rename_aside(path), before)

    def rename_aside(self, path: Path) -> Path:
        """Rename *path* into the scratch folder, if it exists; return the new path, for :meth:`delete`."""
        aside = self.scratch_path("gone")
        with suppress(FileNotFoundError):
            path.rename(aside)
        return aside

    def sweep(self, folder: Path, keep: Callable[[str], object]) -> None:
        """Discard everything in *folder* unless *keep* is true for its name; errors are logged."""
        for found in folder.iterdir():
            if keep(found.name):
                continue
            try:
                self.discard(found)
            except OSError as error:
                _log.warning("cannot delete left-over: path=%s error=%s", found, error)

    def delete_now(self, path: Path) -> None:
        """Delete *path*, if it exists; blocking, may be called in any thread."""
        _delete_or_log(path)

    def delete(self, path: Path, before: Callable[[Path], None] | None = None) -> asyncio.Task[None]:
        """Begin to delete *path*; the task ends when it is deleted.  *before* as in :meth:`discard`."""
        job = self._tasks.start(self._delete_in_pool(path, before), "delete")
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def _delete_in_pool(self, path: Path, before: Callable[[Path], None] | None) -> None:
        for pause in _PAUSES:
            with suppress(OSError, RuntimeError):
                await asyncio.get_running_loop().run_in_executor(self._pool, _delete, path, before)
                return
            await asyncio.sleep(pause)
        await asyncio.get_running_loop().run_in_executor(self._pool, _delete_or_log, path)

    async def wait(self) -> None:
        """Return when everything discarded so far is deleted."""
        if self._jobs:
            await asyncio.wait(set(self._jobs))


def _delete(path: Path, before: Callable[[Path], None] | None = None) -> None:
    if before is not None:
        before(path)
    with suppress(FileNotFoundError):
        tree.remove_path(path)


def _delete_or_log(path: Path) -> None:
    try:
        _delete(path)
    except OSError as error:
        _log.warning("cannot delete left-over: path=%s error=%s", path, error)
