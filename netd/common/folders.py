"""Creates the folders of the daemons, and enforces their owners and modes at each start.

Other users cannot enter STATE: a volume may hold set-user-ID programs, and layers hold files of other users.  They can
search RUN because its sockets are accessible to them, but cannot enter the folders below RUN.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from netd.common.config import Settings
from netd.common.errors import Conflict

SEARCHABLE, CLOSED, PRIVATE = 0o755, 0o710, 0o700
"""Modes: searchable by all users; by the owner's group; accessible to the owner alone."""


def prepare(settings: Settings) -> None:
    """Set the process's umask, create STATE and RUN, and correct their modes.

    Raises Conflict if either is a symbolic link, belongs to another user, or can be replaced by another user.
    """
    os.umask(0o022)
    for path, mode, flag in ((settings.state_dir, CLOSED, "--state-dir"), (settings.run_dir, SEARCHABLE, "--run-dir")):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_parents(path.parent.resolve(), f"choose another {flag}")
        make(path, mode)


def make(path: Path, mode: int) -> None:
    """Create the folder *path* if it does not exist, and enforce its owner and mode.

    Raises Conflict if it is a symbolic link, no folder, or belongs to another user.
    """
    try:
        path.mkdir(mode=mode)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode)
    except FileExistsError:
        pass
    _enforce(path, mode)


def any_content(*paths: Path) -> bool:
    """Return whether any of the folders exists and holds an entry other than ``lost+found``."""
    return any(path.is_dir() and any(found.name != "lost+found" for found in path.iterdir()) for path in paths)


def _enforce(path: Path, mode: int) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        kind = "a symbolic link; name the folder that it leads to" if path.is_symlink() else "no folder; remove it"
        raise Conflict(f"{path} is {kind}") from None
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid():
            raise Conflict(
                f"{path} belongs to user {found.st_uid}, who could change what is in it; make user {os.geteuid()} its"
                " owner after looking through it, or choose another folder"
            )
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(handle, mode)
    finally:
        os.close(handle)


def _check_parents(parent: Path, remedy: str) -> None:
    for folder in (parent, *parent.parents):
        found = folder.stat()
        if found.st_uid not in (0, os.geteuid()):
            raise Conflict(
                f"{folder} belongs to user {found.st_uid}, who could replace what is in it; make root its owner,"
                f" or {remedy}"
            )
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise Conflict(
                f"{folder} can be written by every user and has no sticky bit; take that permission away (chmod o-w),"
                f" or {remedy}"
            )
