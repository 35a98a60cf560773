"""Mounts that show the owners of files as a container's user namespace maps them (idmapped mounts).

On the disk everything stays under the ids that the container sees: layers are shared, and volumes can be moved between
containers with different ranges.  Runs in the host's mount namespace.
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


class CannotShift(Exception):
    """The file system at a path cannot be mounted with shifted owners; the sentence names both."""


def shift(tree: int, user_namespace: int, path: str) -> None:
    """Shift the owners in the detached mount *tree* of *path*, with all below it.  Raises CannotShift."""
    try:
        linux.shift_ids(tree, user_namespace, recursive=True)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise CannotShift(
            f"{path} is on a file system ({filesystem_of(path)}), or has one mounted below it, whose files the kernel"
            " cannot show under the ids of a user namespace: use another file system, or --userns host"
        ) from None


def filesystem_of(path: str) -> str:
    """Return the kind of the file system at *path* as the mount table names it; ``unknown`` when it is not there."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kind = "unknown"
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            left, _, right = line.decode(errors="surrogateescape").partition(" - ")
            if left.split()[2] == number:
                kind = right.split()[0]
    return kind


def bind(source: str, user_namespace: int, *, read_only: bool = False, propagation: str = "rprivate") -> int:
    """Return what :func:`mounts.bind` returns, with shifted owners."""
    tree = mounts.bind(source, read_only=read_only, propagation=propagation)
    try:
        shift(tree, user_namespace, source)
    except BaseException:
        os.close(tree)
        raise
    return tree


def overlay(lower: Sequence[str], upper: str, work: str, user_namespace: int, root: int) -> int:
    """Return what :func:`mounts.overlay` returns, with shifted owners.

    *root* is the host's id of the namespace's root: what overlayfs itself makes in the layers is made in its name,
    because no other id of the host can be stored there.  Made in a mount namespace of a child's own, where the shifted
    layers cover the layers.
    """
    ours, theirs = frames.pair()
    child = os.fork()
    if child == 0:
        try:
            _cover({*map(os.path.dirname, lower), os.path.dirname(upper)}, user_namespace)
            linux.act_as(root)
            frames.send(theirs, frames.READY, b"", (mounts.overlay(lower, upper, work),))
        except CannotShift as problem:
            frames.send(theirs, frames.FAILED, frames.pack((0, str(problem))))
        except OSError as problem:
            frames.send(theirs, frames.FAILED, frames.pack((problem.errno or errno.EIO, str(problem))))
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
    number, text = frames.unpack_tuple(payload)
    raise OSError(number, text) if number else CannotShift(text)


def _cover(folders: set[str], user_namespace: int) -> None:
    """Mount each of the folders on itself, shifted, where nobody else sees it."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    trees = [(path, linux.open_tree(linux.AT_FDCWD, path)) for path in sorted(folders)]
    for path, tree in trees:
        shift(tree, user_namespace, path)
        linux.move_mount(tree, linux.AT_FDCWD, path)
