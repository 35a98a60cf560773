"""Helpers of :mod:`runtime.images.layers`: metadata of roots, recipes with replaced files."""

from __future__ import annotations

import os
import stat
from array import array
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from runtime.images import recipe
from runtime.images.recipe import RecipeWriter, Summary
from runtime.images.replaced import Replaced


def _root_metadata(handle: int) -> tuple[Any, ...]:
    status = os.fstat(handle)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def root_differs(root: int, lower: int) -> bool:
    """Return whether the root of an upper folder has not the metadata that a layer's root has without an entry."""
    return _root_metadata(root) != (_root_metadata(lower) if lower >= 0 else (0o755, 0, 0))


def copy_root(lower: int, root: int) -> None:
    """Give a new layer's root the owner and mode of the root of the layer below."""
    status = os.fstat(lower)
    os.fchown(root, status.st_uid, status.st_gid)
    os.fchmod(root, stat.S_IMODE(status.st_mode))


def with_replaced(file: BinaryIO, summary: Summary, inodes: array[int], replaced: Replaced) -> None:
    """Rewrite the recipe in *file* with the content of files that were replaced within the archive."""
    with TemporaryFile() as former:
        file.seek(0)
        while data := file.read(1 << 18):
            former.write(data)
        former.seek(0)
        recipe.summary(former)
        file.seek(0)
        file.truncate()
        writer = RecipeWriter(file)
        recipe.with_content(former, writer, inodes, replaced.open)
        writer.finish(summary)
