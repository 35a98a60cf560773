"""A copy of each container's record in the container's folder.

Written when a container is created or its configuration changes; read only if the store has lost records.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec

from netd.common import codec
from runtime.paths import Paths
from runtime.record import ContainerRecord

_log = logging.getLogger(__name__)


class RecordCopies:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def write(self, record: ContainerRecord) -> None:
        """Write the copy of a record; a failure is only logged, because the store has the record.  Blocks."""
        target = self._paths.container(record.id).record
        temporary = target.with_suffix(".new")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as file:
                file.write(codec.encode(record))
            temporary.rename(target)
        except OSError as error:
            _log.warning("record copy not written: container=%s error=%s", record.id[:12], error.strerror)

    def read_missing(self, known: Container[str]) -> Iterator[ContainerRecord]:
        """Yield the copies of containers whose ids are not in *known*; unreadable copies are logged.  Blocks."""
        folder = self._paths.containers
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name not in known and (record := _read(self._paths.container(entry.name).record)) is not None:
                yield record


def _read(path: Path) -> ContainerRecord | None:
    try:
        record = codec.decode(path.read_bytes(), ContainerRecord)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        _log.warning("record copy not readable: path=%s error=%s", path, error)
        return None
    return record if record.id == path.parent.name else None
