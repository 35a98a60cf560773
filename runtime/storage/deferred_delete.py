"""Takes folders away at once and deletes them later: a rename now, the work in a thread.

What a crash leaves in the scratch folder is deleted at the next start.
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
"""Seconds before a deletion that failed is tried again; then it is left to the next start."""


class DeferredDelete:
    """*scratch* must be on the file system of what is thrown away."""

    def __init__(self, scratch: Path, tasks: Tasks | None = None) -> None:
        self._tasks = tasks or Tasks()
        self._scratch = scratch
        # Its own, because trees of millions of files would keep all threads that starts of containers need.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="delete")
        self._jobs: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Make the scratch folder and delete what an earlier run left in it."""
        folders.make(self._scratch, folders.PRIVATE)
        for left in self._scratch.iterdir():
            self.delete(left)

    def fresh(self, what: str) -> Path:
        """Return a path for something that is being made; :meth:`throw` it away when that fails."""
        return self._scratch / f"{what}-{uuid.uuid4().hex}"

    def throw(self, path: Path) -> None:
        """Make *path* vanish now.  What is not there is no error."""
        self.delete(self.put_aside(path))

    def put_aside(self, path: Path) -> Path:
        """Make *path* vanish now, and return where it is until :meth:`delete`.  What is not there is no error."""
        aside = self.fresh("gone")
        with suppress(FileNotFoundError):
            path.rename(aside)
        return aside

    def sweep(self, folder: Path, keep: Callable[[str], object]) -> None:
        """Throw away everything in *folder* whose name is not to be kept, or leave it to the next start."""
        for found in folder.iterdir():
            if keep(found.name):
                continue
            try:
                self.throw(found)
            except OSError as error:
                _log.warning("cannot delete left-over: path=%s error=%s", found, error)

    def throw_now(self, path: Path) -> None:
        """Delete *path* if it is there; blocks, and may be called in any thread."""
        _delete_or_log(path)

    def delete(self, path: Path) -> asyncio.Task[None]:
        """Begin to delete what was put aside; the task ends when that is done."""
        job = self._tasks.start(self._delete_in_pool(path), "delete")
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def _delete_in_pool(self, path: Path) -> None:
        for pause in _PAUSES:
            with suppress(OSError, RuntimeError):
                await asyncio.get_running_loop().run_in_executor(self._pool, _delete, path)
                return
            await asyncio.sleep(pause)
        await asyncio.get_running_loop().run_in_executor(self._pool, _delete_or_log, path)

    async def settle(self) -> None:
        """Return when all that was thrown away so far is deleted."""
        if self._jobs:
            await asyncio.wait(set(self._jobs))


def _delete(path: Path) -> None:
    with suppress(FileNotFoundError):
        tree.remove_path(path)


def _delete_or_log(path: Path) -> None:
    try:
        _delete(path)
    except OSError as error:
        _log.warning("cannot delete left-over: path=%s error=%s", path, error)
