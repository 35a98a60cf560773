"""Mounts as descriptors: created detached, given attributes, and attached to a target that is a descriptor too.

Nothing appears in the host's mount table, and no path is resolved twice.  Imported by every shim.
"""

from __future__ import annotations

import errno
import os

from runtime import frames
from runtime.kernel import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RESTRICTED = linux.ATTR_NOSUID | linux.ATTR_NODEV | linux.ATTR_NOEXEC

_FLAGS = {
    "ro": (linux.ATTR_RDONLY, 0), "rw": (0, linux.ATTR_RDONLY),
    "nosuid": (linux.ATTR_NOSUID, 0), "suid": (0, linux.ATTR_NOSUID),
    "nodev": (linux.ATTR_NODEV, 0), "dev": (0, linux.ATTR_NODEV),
    "noexec": (linux.ATTR_NOEXEC, 0), "exec": (0, linux.ATTR_NOEXEC),
    "noatime": (0x10, 0), "nodiratime": (0x80, 0), "strictatime": (linux.ATTR_STRICTATIME, 0),
    "atime": (0, 0), "diratime": (0, 0), "relatime": (0, 0), "async": (0, 0), "defaults": (0, 0),
}  # fmt: skip

_PROPAGATION = {"private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20, "unbindable": 1 << 17}


def filesystem(
    kind: str, attributes: int = 0, options: Sequence[tuple[str, str]] = (), source: str | None = None
) -> int:
    """Return a new detached mount of a file system without a device; mountinfo shows *source*, or *kind* without it."""
    context = linux.fsopen(kind)
    try:
        linux.fsconfig_string(context, "source", source or kind)
        for key, value in options:
            if value:
                linux.fsconfig_string(context, key, value)
            else:
                linux.fsconfig_flag(context, key)
        linux.fsconfig_create(context)
        return linux.fsmount(context, attributes)
    finally:
        os.close(context)


def tmpfs(options: str, mode: str) -> int:
    """Return a detached tmpfs with the options of ``--tmpfs``; *mode* is the default for ``mode=``.

    Raises OSError for an option that the kernel does not know.
    """
    attributes, data = RESTRICTED, {"mode": mode}
    for word in filter(None, options.split(",")):
        key, _, value = word.partition("=")
        if key in _FLAGS and not value:
            add, clear = _FLAGS[key]
            attributes = (attributes | add) & ~clear
        else:
            data[key] = value
    return filesystem("tmpfs", attributes, list(data.items()))


def bind(
    source: str,
    *,
    read_only: bool = False,
    propagation: str = "rprivate",
    subpath: str = "",
    recursive: bool = True,
    read_only_recursive: bool = True,
) -> int:
    """Return a detached copy of the mount at *source* and, with *recursive*, of all mounts below it.

    *subpath* is a path below the directory *source*; symbolic links in it cannot leave that directory.  With
    *read_only*, the mounts below it become read-only only with *read_only_recursive*.
    """
    tree = (
        _open_below(source, subpath, recursive)
        if subpath
        else linux.open_tree(linux.AT_FDCWD, source, recursive=recursive)
    )
    try:
        word = propagation.removeprefix("r")
        linux.mount_setattr(tree, propagation=_PROPAGATION[word], recursive=propagation != word)
        if read_only:
            linux.mount_setattr(tree, add=linux.ATTR_RDONLY, recursive=recursive and read_only_recursive)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _open_below(source: str, subpath: str, recursive: bool) -> int:
    base = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return bind_below(base, subpath, recursive)
    finally:
        os.close(base)


def bind_below(base: int, subpath: str, recursive: bool = True) -> int:
    """Return a detached copy of the mount at *subpath* below the directory *base*.

    Raises OSError: EXDEV or ELOOP if a link leads out of *base*.
    """
    inner = linux.openat2(base, subpath, os.O_PATH, linux.BENEATH | linux.NO_MAGICLINKS)
    try:
        return linux.open_tree(inner, "", recursive=recursive)
    finally:
        os.close(inner)


def attach(tree: int, target: int) -> None:
    """Mount *tree* on the file or directory *target*, a descriptor, and close *tree*."""
    try:
        linux.move_mount(tree, target)
    finally:
        os.close(tree)


def overlay(lower: Sequence[str], upper: str = "", work: str = "") -> int:
    """Return a detached overlay of the directories *lower*, top first, with *upper* as the writable layer.

    Without *upper* it is read-only.
    """
    try:
        return new_overlay(lower, upper, work)
    except OSError as problem:
        if not is_unknown_to_old_kernel(problem):
            raise
    return overlay_by_mount(lower, upper, work)


def new_overlay(lower: Sequence[str], upper: str = "", work: str = "") -> int:
    """Do what :func:`overlay` does on kernels from 6.7 on; read-only without *upper*."""
    context = linux.fsopen("overlay")
    try:
        linux.fsconfig_string(context, "source", "overlay")
        for path in lower:
            _add_directory(context, "lowerdir+", path)
        if upper:
            # With references to lower layers, the writable layer could not become a layer of an image.
            linux.fsconfig_string(context, "redirect_dir", "off")
            linux.fsconfig_string(context, "metacopy", "off")
            _add_directory(context, "upperdir", upper)
            _add_directory(context, "workdir", work)
        linux.fsconfig_create(context)
        return linux.fsmount(context, 0 if upper else linux.ATTR_RDONLY)
    finally:
        os.close(context)


def is_unknown_to_old_kernel(problem: OSError) -> bool:
    """Return whether :func:`new_overlay` failed because the kernel is older than 6.7."""
    return problem.errno == errno.EINVAL and "lowerdir+" in str(problem)


def _add_directory(context: int, key: str, path: str) -> None:
    if len(os.fsencode(path)) < 256:
        linux.fsconfig_string(context, key, path)
        return
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.fsconfig_string(context, key, f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def overlay_by_mount(lower: Sequence[str], upper: str, work: str) -> int:
    """Do what :func:`overlay` does on kernels before 6.7, which take the layers in one string of at most a page.

    A child mounts it in a mount namespace of its own and sends a detached copy.
    """
    ours, theirs = frames.pair()
    child = os.fork()
    if child == 0:
        try:
            frames.send(theirs, frames.READY, b"", (_overlay_in_namespace(lower, upper, work),))
            os._exit(0)
        except OSError as problem:
            frames.send(theirs, frames.FAILED, frames.pack_failure(problem.errno or 0, str(problem)))
        finally:
            os._exit(1)
    theirs.close()
    kind, payload, descriptors = frames.receive(ours)
    ours.close()
    os.waitpid(child, 0)
    if kind != frames.READY:
        raise OSError(*frames.unpack_failure(payload))
    return descriptors[0]


def _overlay_in_namespace(lower: Sequence[str], upper: str, work: str) -> int:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    return overlay_here(lower, upper, work)


def overlay_here(lower: Sequence[str], upper: str = "", work: str = "") -> int:
    """Mount the overlay by mount(2) in the mount namespace of the caller, which is private, and return a copy of it.

    Changes the working directory of the caller.  The mount is read-only without *upper*.
    """
    os.chdir(os.path.dirname(lower[0]))
    options = "lowerdir=" + ":".join(_escape(os.path.relpath(path)) for path in lower)
    if upper:
        options += f",upperdir={_escape(upper)},workdir={_escape(work)}"
    linux.mount("overlay", upper or lower[0], "overlay", 0 if upper else linux.MS_RDONLY, options)
    return linux.open_tree(linux.AT_FDCWD, upper or lower[0], recursive=False)


def _escape(path: str) -> str:
    for character in ("\\", ":", ","):
        path = path.replace(character, "\\" + character)
    return path


def directory_in(root: int, path: str) -> int:
    """Return a descriptor of the directory *path* inside *root*, created with parents if missing.

    Symbolic links are resolved inside *root*.
    """
    walked = ""
    current = os.dup(root)
    for part in filter(None, path.split("/")):
        walked += "/" + part
        parent = current
        try:
            current = _directory(root, parent, walked, part)
        finally:
            os.close(parent)
    return current


def _directory(root: int, parent: int, walked: str, part: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    resolve = linux.IN_ROOT | linux.NO_MAGICLINKS
    try:
        return linux.openat2(root, walked, flags, resolve)
    except FileNotFoundError:
        os.mkdir(part, 0o755, dir_fd=parent)
    return linux.openat2(root, walked, flags, resolve)


def file_in(root: int, path: str, links: int = 8) -> int:
    """Return a descriptor of the file *path* inside *root*, created empty if missing.

    Symbolic links are resolved inside *root*.  The missing target of a link is created, through at most *links* links.
    """
    resolve = linux.IN_ROOT | linux.NO_MAGICLINKS
    try:
        return linux.openat2(root, path, os.O_PATH, resolve)
    except FileNotFoundError:
        parent = directory_in(root, os.path.dirname(path))
    name = os.path.basename(path)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        if not links:
            raise
        return file_in(root, os.path.join(os.path.dirname(path), os.readlink(name, dir_fd=parent)), links - 1)
    finally:
        os.close(parent)
    return linux.openat2(root, path, os.O_PATH, resolve)


def own_directory(root: int, name: str) -> int:
    """Return the directory *name* at the top of *root*; a link or file of that name in the image is replaced."""
    try:
        return linux.openat2(root, name, os.O_PATH | os.O_DIRECTORY, linux.NO_SYMLINKS | linux.BENEATH)
    except FileNotFoundError:
        pass
    except (NotADirectoryError, OSError) as problem:
        if problem.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        os.unlink(name, dir_fd=root)
    os.mkdir(name, 0o755, dir_fd=root)
    return linux.openat2(root, name, os.O_PATH | os.O_DIRECTORY, linux.NO_SYMLINKS | linux.BENEATH)


def own_file(directory: int, name: str) -> int:
    """Return the file *name* in *directory*, created empty if missing; a link of that name in the image is replaced."""
    try:
        return linux.openat2(directory, name, os.O_PATH, linux.NO_SYMLINKS | linux.BENEATH)
    except FileNotFoundError:
        pass
    except OSError as problem:
        if problem.errno != errno.ELOOP:
            raise
        os.unlink(name, dir_fd=directory)
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=directory))
    return linux.openat2(directory, name, os.O_PATH, linux.NO_SYMLINKS | linux.BENEATH)
