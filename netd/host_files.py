"""The host's own resolv.conf and hosts: each is checked with stat(2) when used, and read again if it changed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from netd.container_files import HostFiles

_log = logging.getLogger(__name__)
_HOSTS = Path("/etc/hosts")


class HostFileReader:
    def __init__(self, resolv_conf: Path) -> None:
        self._resolv_conf = _CachedFile(resolv_conf)
        self._hosts = _CachedFile(_HOSTS)

    def read(self) -> HostFiles:
        """Return the contents of both files; "" for a missing file."""
        return HostFiles(self._resolv_conf.text(), self._hosts.text())


class _CachedFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._text = ""

    def text(self) -> str:
        try:
            status = os.stat(self._path)
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._text = self._path.read_text(errors="replace")
                self._stamp = stamp
        except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
            self._stamp, self._text = (), ""
        except OSError as error:
            _log.warning("file cannot be read, using its last content: path=%s error=%s", self._path, error)
        return self._text
