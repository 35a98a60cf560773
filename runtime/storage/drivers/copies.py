"""Drivers whose root is a complete tree of its own: the common part, and the driver ``vfs``, which copies the image.

The tree is the folder ``diff`` of a container's folder.  Differences to the image are found by comparison.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from netd.common import folders
from netd.common.errors import BadRequest
from runtime.init import mounts
from runtime.kernel import openat
from runtime.paths import ContainerPaths
from runtime.spec import RootSource
from runtime.storage import copyup, detached, root_changes
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.root_changes import Change


class CompleteRoots:
    """What ``vfs`` and ``btrfs`` have in common; a subclass creates ``own.upper``, complete or not at all."""

    name = ""

    def __init__(self, deferred_delete: DeferredDelete) -> None:
        self._deferred_delete = deferred_delete

    def source(self, own: ContainerPaths, layers: Sequence[str]) -> RootSource:
        return RootSource(root=str(own.upper))

    def graph(self, own: ContainerPaths, layers: Sequence[str]) -> dict[str, str] | None:
        return None

    def prepare(self, own: ContainerPaths, layers: Sequence[str], size: int = 0) -> None:
        raise NotImplementedError

    def open(self, own: ContainerPaths, layers: Sequence[str], *, writable: bool) -> int:
        self.prepare(own, layers)
        return mounts.bind(str(own.upper), read_only=not writable, recursive=False)

    def changes(self, own: ContainerPaths, layers: Sequence[str]) -> list[Change]:
        root, image = openat.open_tree_root(own.upper), detached.overlay(layers)
        try:
            return root_changes.of_trees(root, image)
        finally:
            os.close(root)
            os.close(image)

    def size(self, own: ContainerPaths, layers: Sequence[str]) -> int:
        if not own.upper.exists():
            return 0
        changed = [change for change in self.changes(own, layers) if change.kind != root_changes.DELETED]
        root = openat.open_tree_root(own.upper)
        try:
            return sum(_file_size(root, change.path) for change in changed)
        finally:
            os.close(root)

    def upper(self, own: ContainerPaths, layers: Sequence[str], scratch: Path) -> Path:
        scratch.mkdir(mode=0o755)
        links = self._deferred_delete.scratch_path("links")
        links.mkdir(mode=0o700)
        root, target, inodes = (openat.open_tree_root(path) for path in (own.upper, scratch, links))
        try:
            _write_upper(root, target, inodes, self.changes(own, layers))
        finally:
            for handle in (root, target, inodes):
                os.close(handle)
            self._deferred_delete.delete_now(links)
        return scratch

    def destroy(self, folder: Path) -> None:
        """The folder needs no preparation."""

    def sweep(self) -> None:
        """Nothing is kept for images."""

    def copy_image(self, layers: Sequence[str], target: Path) -> None:
        """Copy the files of the image into the empty folder *target*."""
        links = target / uuid.uuid4().hex  # in the same subvolume, in which alone hard links are possible
        links.mkdir(mode=0o700)
        image = detached.overlay(layers)
        root, copy, inodes = (
            openat.open_folder(image, b"."),
            openat.open_tree_root(target),
            openat.open_tree_root(links),
        )
        try:
            copyup.copy_tree(root, copy, inodes)
        finally:
            for handle in (image, root, copy, inodes):
                os.close(handle)
            self._deferred_delete.delete_now(links)


class Vfs(CompleteRoots):
    name = "vfs"

    def status(self) -> list[tuple[str, str]]:
        return []

    def check_size(self) -> None:
        raise BadRequest("--storage-opt size is not supported by the storage driver vfs: leave it out")

    def prepare(self, own: ContainerPaths, layers: Sequence[str], size: int = 0) -> None:
        make_folders(own)
        if own.upper.exists():
            return
        copy = self._deferred_delete.scratch_path("vfs")
        copy.mkdir(mode=0o755)
        try:
            self.copy_image(layers, copy)
            copy.rename(own.upper)
        except BaseException:
            self._deferred_delete.delete_now(copy)
            raise


def make_folders(own: ContainerPaths) -> None:
    folders.make(own.folder, folders.CLOSED)
    own.root.mkdir(exist_ok=True, mode=0o755)


@contextmanager
def _parent(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Open the folder of *path*; yield (folder, last component)."""
    folder = openat.open_in(root, os.path.dirname(path), openat.PARENT, links=False)
    try:
        yield folder, os.path.basename(path)
    finally:
        os.close(folder)


def _file_size(root: int, path: bytes) -> int:
    with _parent(root, path) as (folder, name):
        status = openat.lstat(folder, name)
    return 0 if status is None or stat.S_ISDIR(status.st_mode) else status.st_size


def _write_upper(root: int, target: int, links: int, found: Iterable[Change]) -> None:
    """Write the changes as an upper layer: deleted names become whiteouts.  Parents come before their content."""
    entered: list[bytes] = []
    for change in found:
        with _parent(target, change.path) as (folder, name):
            if change.kind == root_changes.DELETED:
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
                continue
            with _parent(root, change.path) as (source, _):
                if _copy(source, folder, name, links):
                    entered.append(change.path)
    for path in reversed(entered):
        _copy_metadata(root, target, path)
    openat.copy_metadata(root, target)


def _copy(source: int, folder: int, name: bytes, links: int) -> bool:
    """Copy a file, or create a folder; return whether it is a folder."""
    status = openat.lstat(source, name)
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=folder)
        return True
    copyup.copy_linked(source, folder, name, status, links)
    return False


def _copy_metadata(root: int, target: int, path: bytes) -> None:
    original, copy = (openat.open_in(tree, path, os.O_RDONLY | os.O_DIRECTORY, links=False) for tree in (root, target))
    try:
        openat.copy_metadata(original, copy)
    finally:
        os.close(original)
        os.close(copy)
