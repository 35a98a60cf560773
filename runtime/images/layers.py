"""The layers on disk: read-only folders named by chain id, shared by all images that use them.

A layer is published by a rename after it has been synced to disk, so it exists completely or not at all.  Beside each
folder there is a tar recipe (:mod:`runtime.images.recipe`), by which :meth:`Layers.archive` gives back the exact
uncompressed archive.

For code that adds images (load, pull, build, commit): :meth:`Layers.unpack` or :meth:`Layers.from_folder` return a
:class:`Layer` that is not yet published; ``Images.publish`` publishes it under a lease.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from netd.common import folders
from netd.common.errors import NoSpace, NotFound
from runtime.images import byte_pipe, layer_archive, recipe
from runtime.images.decompress import Inflated, read_ahead
from runtime.images.image_config import chain_ids
from runtime.images.recipe import RecipeWriter, RecordedSource, RecordingSink, Summary
from runtime.images.replaced import Replaced
from runtime.images.tar_writer import Sink, TreeWriter
from runtime.images.tarstream import BadArchive, ByteSource, TarStream
from runtime.images.unpack import unpack
from runtime.kernel import tree
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
    recipe: Path
    """The file of its tar recipe until it is published."""


class Layers:
    def __init__(self, paths: Paths, deferred_delete: DeferredDelete) -> None:
        self._paths = paths
        self._deferred_delete = deferred_delete
        self._summaries: dict[str, Summary] = {}

    def open(self) -> None:
        """Create the folders of all layers and recipes."""
        for folder in (self._paths.layers, self._paths.recipes):
            folders.make(folder, folders.PRIVATE)
        folders.make(self._paths.no_layers, 0o755)

    def sweep(self, known: Iterable[str]) -> None:
        """Delete the folders and recipes of layers not in *known*, which a crash has left."""
        names = {self._paths.layer(chain).name for chain in known}
        for folder in (self._paths.layers, self._paths.recipes):
            self._deferred_delete.sweep(folder, names.__contains__)

    def folders(self, chains: Sequence[str]) -> tuple[str, ...]:
        return tuple(str(self._paths.layer(chain)) for chain in chains)

    def exists(self, chain: str) -> bool:
        return self._paths.layer(chain).exists()

    def size(self, chain: str) -> int:
        """Return the bytes of the files of a published layer; blocking."""
        path = self._paths.recipe(chain)
        if chain in self._summaries or path.exists():
            return self.summary(chain, "").size
        return tree.size(self._paths.layer(chain))

    def drop(self, chain: str) -> None:
        self._summaries.pop(chain, None)
        self._deferred_delete.discard(self._paths.layer(chain))
        self._deferred_delete.discard(self._paths.recipe(chain))

    # Making

    def unpack(
        self, archive: ByteSource, diffs_below: Sequence[str] = (), *, private_root: bool = True, expected: str = ""
    ) -> Layer:
        """Unpack *archive* as the layer above those of *diffs_below*; blocking, to be called in a thread.

        *archive* may be compressed.  Unless *private_root*, an archive whose root is not accessible to all users gets a
        root of uid 0 with mode 0755.  *expected* is the diff id that it must have.

        Raises BadArchive, or NoSpace if the disk is full, after removing everything.
        """
        with self._fresh() as (fresh, described, aside):
            replaced = Replaced(aside)
            try:
                with described.open("w+b") as file:
                    summary = self._fill(fresh, archive, chain_ids(list(diffs_below)), private_root, file, replaced)
                    if not summary.tar_size and not expected:
                        raise BadArchive("the archive is empty")
                    if expected and summary.diff != expected:
                        raise BadArchive(f"a layer has the digest {summary.diff}, but the image names {expected}")
            finally:
                replaced.close()
            return _layer(summary, diffs_below, fresh, described)

    def from_folder(
        self,
        folder: Path,
        diffs_below: Sequence[str] = (),
        *,
        move: bool,
        omit: Callable[[int], Container[bytes]] = lambda _: frozenset(),
    ) -> Layer:
        """Make a layer of *folder*, the upper folder of an overlay above the layers of *diffs_below*; blocking.

        Overlay's whiteouts and opaque marks become those of layers; sockets are left out.  With *move* the folder
        itself becomes the layer's folder, and no process may use it; otherwise it is copied, and may be in use.
        *omit* gets the open folder, and returns the paths in it that are left out of the archive, with what is below.

        Raises OSError, BadArchive, or NoSpace if the disk is full; a folder to be moved is then still in its place.
        """
        below = chain_ids(list(diffs_below))
        if not move:
            with byte_pipe.stream(lambda sink: self._write_upper(folder, below, sink, omit)) as archive:
                return self.unpack(archive, diffs_below)
        with self._fresh() as (fresh, described, _aside):
            with described.open("w+b") as file:
                writer = RecipeWriter(file)
                sink = RecordingSink(writer)
                size = self._write_upper(folder, below, sink, omit)
                summary = Summary(sink.digest, sink.size, size)
                writer.finish(summary)
            fresh.rmdir()
            folder.rename(fresh)
            root = open_tree_root(fresh)
            try:
                syncfs(root)
            finally:
                os.close(root)
            return _layer(summary, diffs_below, fresh, described)

    def publish(self, layer: Layer) -> None:
        """Rename the layer's folder to its final name, unless that exists; blocking, syncs the disk."""
        layer.recipe.rename(self._paths.recipe(layer.chain))
        _sync(self._paths.recipes)
        try:
            layer.folder.rename(self._paths.layer(layer.chain))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            self._deferred_delete.delete_now(layer.folder)
        _sync(self._paths.layers)

    def discard(self, layer: Layer) -> None:
        """Delete a layer, unless it was published; blocking."""
        self._deferred_delete.delete_now(layer.folder)
        self._deferred_delete.delete_now(layer.recipe)

    # Reading

    def summary(self, chain: str, diff: str) -> Summary:
        """Return the sizes of a published layer; blocking.  Raises DamagedLayer, or NotFound if it is not on disk."""
        if (known := self._summaries.get(chain)) is None:
            known = self._summaries[chain] = self._read_summary(chain, diff)
        return known

    def archive(self, chain: str, diff: str) -> Iterator[bytes]:
        """Yield the exact uncompressed archive of a published layer, whose digest is *diff*; blocking.

        Its size is ``summary().tar_size``.  Raises DamagedLayer, also after some data, if the layer has changed.
        """
        digest = hashlib.sha256()
        root = self._open(chain)
        try:
            for data in self._archive(chain, diff, root):
                digest.update(data)
                yield data
        finally:
            os.close(root)
        if f"sha256:{digest.hexdigest()}" != diff:
            raise recipe.DamagedLayer(
                f"the layer {diff} is damaged: remove the image, and import, load or pull it again"
            )

    def _archive(self, chain: str, diff: str, root: int) -> Iterator[bytes]:
        path = self._paths.recipe(chain)
        if path.exists():
            with path.open("rb") as file:
                recipe.summary(file)
                yield from recipe.archive(file, root, diff)
            return
        self.summary(chain, diff)  # raises if the folder does not give this archive
        with byte_pipe.stream(lambda sink: TreeWriter(sink, whiteouts=True).whole(root)) as archive:
            while data := archive.read(1 << 18):
                yield data

    def _read_summary(self, chain: str, diff: str) -> Summary:
        path = self._paths.recipe(chain)
        if path.exists():
            with path.open("rb") as file:
                return recipe.summary(file)
        root = self._open(chain)
        try:
            sink = RecordingSink(None)
            size = TreeWriter(sink, whiteouts=True).whole(root)
        finally:
            os.close(root)
        if sink.digest != diff:
            raise recipe.DamagedLayer(
                f"the layer {diff} was unpacked by an earlier version of netd-runtime, which did not record its"
                " archive: import the image again"
            )
        return Summary(diff, sink.size, size)

    def _open(self, chain: str) -> int:
        try:
            return open_tree_root(self._paths.layer(chain))
        except FileNotFoundError:
            raise NotFound(f"the layer {chain} is not on disk: import, load or pull the image again") from None

    # Folders

    @contextmanager
    def _fresh(self) -> Iterator[tuple[Path, Path, Path]]:
        """Yield the paths of a new folder, of its recipe, and of a folder that is deleted at the end.

        After an exception all are deleted, and a full disk is NoSpace.
        """
        fresh, described, aside = (self._deferred_delete.scratch_path(word) for word in ("layer", "recipe", "replaced"))
        try:
            fresh.mkdir()
            fresh.chmod(0o755)
            yield fresh, described, aside
        except BaseException as error:
            self._deferred_delete.delete_now(fresh)
            self._deferred_delete.delete_now(described)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"the disk of {self._paths.state} is full: free some space and try again") from error
            raise
        finally:
            self._deferred_delete.delete_now(aside)

    def _fill(
        self,
        fresh: Path,
        archive: ByteSource,
        below: Sequence[str],
        private_root: bool,
        file: BinaryIO,
        replaced: Replaced,
    ) -> Summary:
        lower = [open_tree_root(self._paths.layer(chain)) for chain in reversed(below)]
        root = open_tree_root(fresh)
        try:
            if lower:
                layer_archive.copy_root(lower[0], root)
            source = Inflated(archive)
            writer = RecipeWriter(file)
            with read_ahead(source) as ahead:
                recorded = RecordedSource(ahead, writer)
                stream = TarStream(recorded)
                size = unpack(stream, root, lower, private_root=private_root, recorded=recorded, replaced=replaced)
                stream.drain()
            summary = Summary(source.digest, source.size, size)
            writer.finish(summary)
            if replaced.any:
                layer_archive.with_replaced(file, summary, recorded.inodes, replaced)
            syncfs(root)
            return summary
        finally:
            for handle in (root, *lower):
                os.close(handle)

    def _write_upper(
        self, folder: Path, below: Sequence[str], sink: Sink, omit: Callable[[int], Container[bytes]]
    ) -> int:
        root = open_tree_root(folder)
        lower = open_tree_root(self._paths.layer(below[-1])) if below else -1
        try:
            writer = TreeWriter(sink, whiteouts=True)
            return writer.whole(root, with_root=layer_archive.root_differs(root, lower), omit=omit(root))
        finally:
            os.close(root)
            if lower >= 0:
                os.close(lower)


def _layer(summary: Summary, diffs_below: Sequence[str], folder: Path, described: Path) -> Layer:
    return Layer(chain_ids([*diffs_below, summary.diff])[-1], summary.diff, summary.size, folder, described)


def _sync(path: Path) -> None:
    handle = open_tree_root(path)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
