"""The layers on disk: read-only folders named by chain id, shared by all images that use them.

A layer is published by a rename after it has been synced to disk, so it exists completely or not at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from netd.common import folders
from netd.common.errors import NoSpace
from runtime.images.decompress import Inflated
from runtime.images.image_config import chain_ids
from runtime.images.tarstream import BadArchive, TarStream
from runtime.images.unpack import unpack
from runtime.kernel.openat import open_tree_root, syncfs
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete


@dataclass(frozen=True, slots=True)
class Layer:
    """An unpacked layer, in *folder* until it is published."""

    chain: str
    diff: str
    size: int
    """Bytes of its files."""
    folder: Path


class Layers:
    def __init__(self, paths: Paths, deferred_delete: DeferredDelete) -> None:
        self._paths = paths
        self._deferred_delete = deferred_delete

    def sweep(self, known: Iterable[str]) -> None:
        """Delete the folders of layers not in *known*, which a crash has left."""
        folders.make(self._paths.layers, folders.PRIVATE)
        self._deferred_delete.sweep(self._paths.layers, {self._paths.layer(chain).name for chain in known}.__contains__)

    def folders(self, chains: Sequence[str]) -> tuple[str, ...]:
        return tuple(str(self._paths.layer(chain)) for chain in chains)

    def drop(self, chain: str) -> None:
        self._deferred_delete.discard(self._paths.layer(chain))

    def unpack(self, archive: BinaryIO, diffs_below: Sequence[str] = (), *, private_root: bool = True) -> Layer:
        """Unpack *archive* as the layer above those of *diffs_below*; blocking, to be called in a thread.

        Unless *private_root*, an archive whose root is not accessible to all users gets a root of uid 0 with mode 0755.

        Raises BadArchive, or NoSpace if the disk is full, after removing everything.
        """
        fresh = self._deferred_delete.scratch_path("layer")
        try:
            fresh.mkdir()
            fresh.chmod(0o755)
            diff, size = self._fill(fresh, archive, chain_ids(list(diffs_below)), private_root)
            return Layer(chain_ids([*diffs_below, diff])[-1], diff, size, fresh)
        except BaseException as error:
            self._deferred_delete.delete_now(fresh)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"the disk of {self._paths.state} is full: free some space and try again") from error
            raise

    def publish(self, layer: Layer) -> None:
        """Rename the layer's folder to its final name, unless that exists; blocking, syncs the disk."""
        target = self._paths.layer(layer.chain)
        if target.exists():
            self._deferred_delete.delete_now(layer.folder)
            return
        layer.folder.rename(target)
        parent = open_tree_root(target.parent)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def _fill(self, fresh: Path, archive: BinaryIO, below: Sequence[str], private_root: bool) -> tuple[str, int]:
        lower = [open_tree_root(self._paths.layer(chain)) for chain in reversed(below)]
        root = open_tree_root(fresh)
        try:
            source = Inflated(archive)
            stream = TarStream(source)
            size = unpack(stream, root, lower, private_root=private_root)
            stream.drain()
            if not source.size:
                raise BadArchive("the archive is empty")
            syncfs(root)
            return source.digest, size
        finally:
            for handle in (root, *lower):
                os.close(handle)
