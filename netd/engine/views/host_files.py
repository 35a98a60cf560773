"""The host's own resolv.conf and hosts: looked at on each use, and read when they have changed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from netd.engine.views.files import HostFiles

_log = logging.getLogger(__name__)
_HOSTS = Path("/etc/hosts")


class HostFileReader:
    def __init__(self, resolv_conf: Path) -> None:
        self._resolv_conf = _Watched(resolv_conf)
        self._hosts = _Watched(_HOSTS)

    def read(self) -> HostFiles:
        """Return both as they are; "" for one that is not there."""
        return HostFiles(self._resolv_conf.text(), self._hosts.text())


class _Watched:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._text = ""

    def text(self) -> str:
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._text = self._path.read_text(errors="replace")
                self._seen = seen
        except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
            self._seen, self._text = (), ""
        except OSError as error:
            _log.warning("file not read, its last text is used: path=%s error=%s", self._path, error)
        return self._text
