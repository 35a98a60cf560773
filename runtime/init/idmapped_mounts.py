"""Idmapped mounts: file owners appear as a container's user namespace maps them.

Files on disk keep the ids that the container sees, so containers with different id ranges can share layers and
volumes.  Runs in the host's mount namespace.
"""

from __future__ import annotations

import errno
import os

from runtime import frames
from runtime.init import mounts
from runtime.kernel import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class CannotIdmap(Exception):
    """The file system at a path cannot be mounted with mapped owners; the message names path and file system."""


def idmap(tree: int, user_namespace: int, path: str) -> None:
    """Map the owners in the detached mount *tree* of *path* and in all mounts below it.  Raises CannotIdmap."""
    try:
        linux.idmap_mount(tree, user_namespace, recursive=True)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise CannotIdmap(
            f"{path} is on a file system ({filesystem_of(path)}), or has one mounted below it, whose files the kernel"
            " cannot show under the ids of a user namespace: use another file system, or --userns host"
        ) from None


def filesystem_of(path: str) -> str:
    """Return the type of the file system at *path* from /proc/self/mountinfo; ``unknown`` if it is not listed."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kind = "unknown"
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            left, _, right = line.decode(errors="surrogateescape").partition(" - ")
            if left.split()[2] == number:
                kind = right.split()[0]
    return kind


def bind(source: str, user_namespace: int) -> int:
    """Do what :func:`mounts.bind` does, with mapped owners."""
    return mapped(mounts.bind(source), user_namespace, source)


def mapped(tree: int, user_namespace: int, source: str) -> int:
    """Return the detached mount *tree* of *source* with mapped owners; it is closed if that fails."""
    try:
        idmap(tree, user_namespace, source)
    except BaseException:
        os.close(tree)
        raise
    return tree


def overlay(lower: Sequence[str], upper: str, work: str, user_namespace: int, root: int) -> int:
    """Do what :func:`mounts.overlay` does, with mapped owners.

    *root* is the host's id of the namespace's root: overlayfs creates its own files in the layers under that id,
    because no unmapped id can be stored there.  A child creates the overlay in a mount namespace of its own, in which
    idmapped mounts cover the directories of the layers.
    """
    ours, theirs = frames.pair()
    child = os.fork()
    if child == 0:
        try:
            _cover({os.path.dirname(path) for path in (*lower, upper) if path}, user_namespace)
            linux.act_as(root)
            frames.send(theirs, frames.READY, b"", (mounts.overlay(lower, upper, work),))
        except CannotIdmap as problem:
            frames.send(theirs, frames.FAILED, frames.pack_failure(0, str(problem)))
        except OSError as problem:
            frames.send(theirs, frames.FAILED, frames.pack_failure(problem.errno or errno.EIO, str(problem)))
        finally:
            os._exit(0)
    theirs.close()
    try:
        kind, payload, descriptors = frames.receive(ours)
    finally:
        ours.close()
        os.waitpid(child, 0)
    if kind == frames.READY:
        return descriptors[0]
    number, text = frames.unpack_failure(payload)
    raise OSError(number, text) if number else CannotIdmap(text)


def _cover(folders: set[str], user_namespace: int) -> None:
    """Enter a new mount namespace and mount each folder on itself, idmapped."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    trees = [(path, linux.open_tree(linux.AT_FDCWD, path)) for path in sorted(folders)]
    for path, tree in trees:
        idmap(tree, user_namespace, path)
        linux.move_mount(tree, linux.AT_FDCWD, path)
