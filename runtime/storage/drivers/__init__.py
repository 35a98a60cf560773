"""Storage drivers: how the root of a container is made from the layers of its image.

The layers themselves are the same for all drivers (:mod:`runtime.images.layers`).  A driver owns the folder ``diff`` of
a container's folder and what belongs to it; :mod:`runtime.storage.drivers.selection` finds drivers by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from runtime.paths import ContainerPaths
from runtime.spec import RootSource
from runtime.storage.root_changes import Change


class RootDriver(Protocol):
    """All methods but ``source`` and ``graph`` block.  *layers* are directories, top first."""

    name: str

    def status(self) -> list[tuple[str, str]]:
        """Return the rows of ``docker info`` below the driver's name."""

    def prepare(self, own: ContainerPaths, layers: Sequence[str], size: int = 0) -> None:
        """Create what is missing of the root; *size* limits its own data, in bytes, 0 for no limit."""

    def check_size(self) -> None:
        """Raise BadRequest if roots cannot have a size limit."""

    def source(self, own: ContainerPaths, layers: Sequence[str]) -> RootSource: ...

    def graph(self, own: ContainerPaths, layers: Sequence[str]) -> dict[str, str] | None:
        """Return the field ``GraphDriver.Data`` of inspect."""

    def open(self, own: ContainerPaths, layers: Sequence[str], *, writable: bool) -> int:
        """Return a detached mount of the root of a container that has no process."""

    def changes(self, own: ContainerPaths, layers: Sequence[str]) -> list[Change]:
        """Return the changes from the image to the container's files."""

    def size(self, own: ContainerPaths, layers: Sequence[str]) -> int:
        """Return the bytes of the files that the container has added or modified."""

    def upper(self, own: ContainerPaths, layers: Sequence[str], scratch: Path) -> Path:
        """Return a folder with the changes as the upper layer of an overlay, created at *scratch* if needed."""

    def destroy(self, folder: Path) -> None:
        """Prepare the folder of a removed container for its deletion."""

    def sweep(self) -> None:
        """Delete what is kept for images that no longer exist."""
