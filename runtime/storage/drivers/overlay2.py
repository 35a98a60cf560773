"""The driver ``overlay2``: an overlay of the layers with a writable layer per container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from netd.common import folders
from netd.common.errors import BadRequest
from runtime.init import idmapped_mounts
from runtime.kernel import openat, tree
from runtime.paths import ContainerPaths, Paths
from runtime.spec import RootSource
from runtime.storage import detached, root_changes, runtime_files
from runtime.storage.root_changes import Change

_DOCKERS_NAMES = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs"}


class Overlay2:
    name = "overlay2"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def status(self) -> list[tuple[str, str]]:
        kind = idmapped_mounts.filesystem_of(str(self._paths.state))
        return [
            ("Backing Filesystem", _DOCKERS_NAMES.get(kind, kind)),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]

    def check_size(self) -> None:
        raise BadRequest(
            "--storage-opt size is not supported by the storage driver overlay2 here: leave it out, or set"
            ' storage_driver = "btrfs" on a btrfs file system'
        )

    def prepare(self, own: ContainerPaths, layers: Sequence[str], size: int = 0) -> None:
        """Create missing folders; the root of the writable layer gets owner and mode from the top layer."""
        folders.make(own.folder, folders.CLOSED)
        for folder in (own.work, own.root):
            folder.mkdir(exist_ok=True, mode=0o755)
        if not own.upper.exists():
            own.upper.mkdir(mode=0o755)
            openat.copy_owner_and_mode(layers[0], own.upper)

    def source(self, own: ContainerPaths, layers: Sequence[str]) -> RootSource:
        return RootSource(lower=tuple(layers), upper=str(own.upper), work=str(own.work))

    def graph(self, own: ContainerPaths, layers: Sequence[str]) -> dict[str, str] | None:
        return {
            "ID": own.folder.name,
            "LowerDir": ":".join(layers),
            "UpperDir": str(own.upper),
            "WorkDir": str(own.work),
            "MergedDir": str(own.root),
        }

    def open(self, own: ContainerPaths, layers: Sequence[str], *, writable: bool) -> int:
        self.prepare(own, layers)
        if writable:
            return detached.overlay(layers, str(own.upper), str(own.work))
        return detached.overlay([str(own.upper), *layers])

    def changes(self, own: ContainerPaths, layers: Sequence[str]) -> list[Change]:
        upper = openat.open_tree_root(own.upper)
        try:
            image = detached.overlay(layers)
            try:
                return root_changes.of_upper(upper, image)
            finally:
                os.close(image)
        finally:
            os.close(upper)

    def size(self, own: ContainerPaths, layers: Sequence[str]) -> int:
        if not own.upper.exists():
            return 0
        return tree.size(own.upper) - _size_of_runtime_files(own.upper)

    def upper(self, own: ContainerPaths, layers: Sequence[str], scratch: Path) -> Path:
        return own.upper

    def destroy(self, folder: Path) -> None:
        """The folder needs no preparation."""

    def sweep(self) -> None:
        """Nothing is kept for images."""


def _size_of_runtime_files(upper: Path) -> int:
    root = openat.open_tree_root(upper)
    try:
        return sum(_size(root, path) for path in runtime_files.FILES)
    finally:
        os.close(root)


def _size(root: int, path: bytes) -> int:
    try:
        handle = openat.open_in(root, path, os.O_PATH | os.O_NOFOLLOW, links=False)
    except OSError:
        return 0
    try:
        return os.fstat(handle).st_size
    finally:
        os.close(handle)
