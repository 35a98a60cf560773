"""The root of an image that is being built, as a detached mount: its layers below a new upper folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.kernel import openat
from runtime.storage import detached


@contextmanager
def readable(layers: Sequence[str]) -> Iterator[int]:
    """Open the root of an image with the folders *layers*, bottom first; it cannot be changed."""
    root = detached.overlay(layers[::-1])
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def of_origin(layers: Sequence[str] | None, context: int) -> Iterator[int]:
    """Open the root of an image, or yield that of the build context if *layers* is None."""
    if layers is None:
        yield context
        return
    with readable(layers) as root:
        yield root


@contextmanager
def writable(layers: Sequence[str], folder: Path) -> Iterator[int]:
    """Open the root of an image for changes, which end up in ``folder/upper``; *folder* is created.

    The root of the upper folder has the owner and mode of the image's root.
    """
    for path in (folder, folder / "upper", folder / "work"):
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    if layers:
        openat.copy_owner_and_mode(layers[-1], folder / "upper")
        root = detached.overlay(layers[::-1], str(folder / "upper"), str(folder / "work"))
    else:
        root = openat.open_tree_root(folder / "upper")
    try:
        yield root
    finally:
        os.close(root)


def is_empty(upper: Path, layers: Sequence[str]) -> bool:
    """Return whether an upper folder has no changes to the layers below it."""
    handle = openat.open_tree_root(upper)
    try:
        if any(True for _ in openat.names(handle)) or not layers:
            return False
        lower = openat.open_tree_root(layers[-1])
        try:
            ours, theirs = os.fstat(handle), os.fstat(lower)
            return (ours.st_mode, ours.st_uid, ours.st_gid) == (theirs.st_mode, theirs.st_uid, theirs.st_gid)
        finally:
            os.close(lower)
    finally:
        os.close(handle)
