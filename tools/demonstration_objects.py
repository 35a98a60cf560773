"""The objects that the demonstration made, noted by id in a file of the state folder, so that only these are removed.

Labels do not tell: containers inherit those of their image, and a user may give any name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "quickstart.json"
KINDS = ("container", "network", "image")
"""In the order of removal."""


class DemonstrationObjects:
    """The ids of the demonstration's objects, by kind, oldest first."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self._ids: dict[str, list[str]] = {kind: [] for kind in KINDS}
        if self._path.exists():
            self._ids |= json.loads(self._path.read_text())

    def ids(self, kind: str) -> list[str]:
        return list(self._ids[kind])

    def note(self, kind: str, identifier: str) -> None:
        self._ids[kind].append(identifier)
        self._write()

    def forget(self, kind: str, identifier: str) -> None:
        self._ids[kind].remove(identifier)
        self._write()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._ids))
        os.replace(fresh, self._path)
