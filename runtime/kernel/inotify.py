"""Notification of changes in a folder, by inotify(7), for the asyncio event loop."""

from __future__ import annotations

import asyncio
import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_MODIFY, _MOVED_FROM, _CREATE = 0x2, 0x40, 0x100
_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class FolderWatch:
    """Watches *folder* until :meth:`close`.  Reports that something changed, not what."""

    def __init__(self, folder: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._handle = _checked(_libc.inotify_init1(_NONBLOCK | _CLOEXEC))
        try:
            _checked(_libc.inotify_add_watch(self._handle, os.fsencode(folder), _MODIFY | _MOVED_FROM | _CREATE))
        except OSError:
            os.close(self._handle)
            raise
        self._loop.add_reader(self._handle, self._drain)

    def _drain(self) -> None:
        try:
            os.read(self._handle, 65536)
        except BlockingIOError:
            return
        self._changed.set()

    async def wait(self) -> None:
        """Wait until something has changed since the last return."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
