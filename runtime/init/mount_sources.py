"""Opens the sources of a container's binds and mounted images as detached mounts.  Imported by every shim."""

from __future__ import annotations

import errno
import os

from runtime.init import idmapped_mounts, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.spec import MountSpec


def open_source(mount: MountSpec, user_namespace: int = -1) -> int:
    """Return a detached mount of the source of a bind or image; owners are mapped if *user_namespace* is a descriptor.

    Raises OSError or CannotIdmap.
    """
    if mount.kind == "image":
        return _open_image(mount, user_namespace)
    tree = mounts.bind(
        mount.source,
        read_only=mount.read_only,
        propagation=mount.propagation,
        subpath=mount.subpath,
        recursive=mount.recursive,
        read_only_recursive=mount.read_only_recursive,
    )
    return tree if user_namespace < 0 else idmapped_mounts.mapped(tree, user_namespace, mount.source)


def _open_image(mount: MountSpec, user_namespace: int) -> int:
    """Return the files of an image, or *mount.subpath* of them, read-only."""
    layers = mount.layers
    if len(layers) == 1:
        tree = mounts.bind(layers[0], read_only=True, subpath=mount.subpath, recursive=False)
        return tree if user_namespace < 0 else idmapped_mounts.mapped(tree, user_namespace, layers[0])
    tree = mounts.overlay(layers) if user_namespace < 0 else idmapped_mounts.overlay(layers, "", "", user_namespace, 0)
    if not mount.subpath:
        return tree
    try:
        return mounts.bind_below(tree, mount.subpath)
    finally:
        os.close(tree)


def failure(mount: MountSpec, problem: OSError) -> str:
    """Return the message for an error of :func:`open_source`, in Docker's words for a path below a volume or image."""
    reason = os.strerror(problem.errno or 0).lower()
    if not mount.subpath:
        return f"cannot mount {mount.source}: {reason}"
    if problem.errno in (errno.EXDEV, errno.ELOOP):
        return f"path concatenation escapes the base directory, base: {mount.source}, subpath: {mount.subpath}"
    path = f"{mount.source}/{mount.subpath}"
    return f"cannot access path {path}: lstat {path}: {reason}"
