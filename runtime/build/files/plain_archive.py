"""Archives of users: build contexts and archives that ADD unpacks.  They are no layers, so they have no whiteouts."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runtime.images.tarstream import BadArchive, ByteSource, Entry, TarStream

_WHITEOUT = b".wh."


class PlainArchive(TarStream):
    """Yields the entries, all with *owner* (uid, gid) if it is given.  Raises BadArchive for names of whiteouts."""

    def __init__(self, source: ByteSource, owner: tuple[int, int] | None = None) -> None:
        super().__init__(source)
        self._owner = owner

    def __iter__(self) -> Iterator[Entry]:
        for found in super().__iter__():
            entry = found
            if any(part.startswith(_WHITEOUT) for part in entry.parts):
                raise BadArchive(f"{entry.shown} has a name that images reserve for deleted files: rename it")
            if self._owner is not None:
                entry = msgspec.structs.replace(entry, uid=self._owner[0], gid=self._owner[1])
            yield entry
