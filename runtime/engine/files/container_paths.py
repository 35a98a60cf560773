"""Docker's rules for a path in a container, and the description of the file there.

Paths are resolved with the container's root as ``/`` and cannot leave it.  The last component is not followed, unless
the path ends with a slash or a dot.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from netd.common.errors import BadRequest, NotFound
from runtime.kernel import openat

_MOST_LINKS = 40
"""As in the kernel."""
_FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# Bits of Go's os.FileMode (https://pkg.go.dev/io/fs#FileMode), in which Docker sends modes.
_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_SPECIAL = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


@dataclass(frozen=True, slots=True)
class ContainerPath:
    """A path of a request; ``clean`` is absolute, without ``.`` and ``..``, ``name`` the file's name in archives."""

    given: str
    clean: str
    name: str
    is_directory: bool
    """It ends with a slash or a dot, so it must be a directory."""


def parse(given: str) -> ContainerPath:
    """Raises BadRequest for an empty path."""
    if not given:
        raise BadRequest("bad parameter: path cannot be empty")
    clean = "/" + posixpath.normpath("/" + given).lstrip("/")
    last = given.rsplit("/", 1)[-1]
    name = "." if last == "." else posixpath.basename(clean) or "/"
    return ContainerPath(given, clean, name, last in ("", ".", "..") or clean == "/")


def open_path(root: int, path: ContainerPath, container: str) -> tuple[int, os.stat_result]:
    """Return a descriptor (O_PATH) of the file, and its status.

    Raises NotFound, or BadRequest if a component is no directory; *container* is its name in the message.
    """
    try:
        if path.is_directory:
            handle = openat.open_in(root, os.fsencode(path.clean), openat.PARENT)
        else:
            folder = openat.open_in(root, os.fsencode(posixpath.dirname(path.clean)), openat.PARENT)
            try:
                handle = openat.open_in(folder, os.fsencode(path.name), _FILE, links=False)
            finally:
                os.close(folder)
    except OSError as error:
        raise problem(error, path, container) from None
    return handle, os.fstat(handle)


def problem(error: OSError, path: ContainerPath, container: str) -> NotFound | BadRequest:
    """Return what is raised for a path that cannot be opened."""
    if error.errno == errno.ENOENT:
        return NotFound(f"Could not find the file {path.given} in container {container}")
    return BadRequest(f"lstat {path.given}: {os.strerror(error.errno or 0).lower()}")


def describe(root: int, path: ContainerPath, status: os.stat_result) -> dict[str, object]:
    """Return the content of the header ``X-Docker-Container-Path-Stat``."""
    mode = stat.S_IMODE(status.st_mode) & 0o777 | _KINDS.get(stat.S_IFMT(status.st_mode), 0)
    for bit, shown in _SPECIAL.items():
        mode |= shown if status.st_mode & bit else 0
    is_link = stat.S_ISLNK(status.st_mode)
    return {
        "name": path.name,
        "size": status.st_size,
        "mode": mode,
        "mtime": _rfc3339(status.st_mtime_ns),
        "linkTarget": link_target(root, path.clean) if is_link else "",
    }


def _rfc3339(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    try:
        moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "0001-01-01T00:00:00Z"
    return moment + f".{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def link_target(root: int, path: str) -> str:
    """Return the path that the symbolic link *path* leads to in the container; components may be missing there."""
    left, found, links = deque(path.strip("/").split("/")), "", 0
    while left:
        part = left.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            found = posixpath.dirname(found).rstrip("/")
            continue
        target = _read_link(root, f"{found}/{part}") if links < _MOST_LINKS else None
        if target is None:
            found += f"/{part}"
            continue
        links += 1
        found = "" if target.startswith("/") else found
        left.extendleft(reversed(target.split("/")))
    return found or "/"


def _read_link(root: int, path: str) -> str | None:
    try:
        folder = openat.open_in(root, os.fsencode(posixpath.dirname(path)), openat.PARENT, links=False)
    except OSError:
        return None
    try:
        return os.readlink(posixpath.basename(path), dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
