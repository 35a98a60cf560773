"""The files and folders of one container on the host.  Everything here blocks; it is small and local."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from netd.common import folders
from runtime.kernel import openat
from runtime.paths import ContainerPaths

_log = logging.getLogger(__name__)
_LARGEST_HOSTS = 1 << 20


def make(own: ContainerPaths, top_layer: str) -> None:
    """Make the folders that are not there: the writable layer's root looks like the image's."""
    folders.make(own.folder, folders.CLOSED)
    for folder in (own.work, own.root):
        folder.mkdir(exist_ok=True, mode=0o755)
    if not own.upper.exists():
        own.upper.mkdir(mode=0o755)
        openat.copy_owner_and_mode(top_layer, own.upper)


def write_files(own: ContainerPaths, *, hostname: str, hosts: str, resolv_conf: str) -> None:
    """Write what the container sees as its three files in /etc."""
    for path, text in ((own.hostname, f"{hostname}\n"), (own.hosts, hosts), (own.resolv_conf, resolv_conf)):
        overwrite(path, text)


def overwrite(path: Path, text: str) -> None:
    """Write in place: the file is mounted in the container, which would go on seeing the old one after a rename."""
    openat.overwrite_path(path, text.encode(errors="surrogateescape"))


def rewrite_hosts(own: ContainerPaths, before: str, after: str) -> bool:
    """Take out of the hosts file what is in *before* alone, and add what is in *after* alone: other lines stay.

    A file that the container made larger than 1 MiB, or unreadable, is left as it is: False is returned and the reason
    logged.  The container then lacks lines about its own addresses only; names of others are not in the file.
    """
    if before == after:
        return True
    try:
        found = openat.read_path(own.hosts, _LARGEST_HOSTS).decode(errors="surrogateescape")
        overwrite(own.hosts, after if found == before else edited(found, before, after))
    except OSError as error:
        reason = error.strerror
        _log.warning("hosts file is left as it is: container=%s error=%s", own.folder.name[:12], reason)
        return False
    return True


def edited(text: str, before: str, after: str) -> str:
    """Return *text* with the lines changed that differ between *before* and *after*."""
    old, new = Counter(_lines(before)), Counter(_lines(after))
    gone = old - new
    lines = []
    for line in reversed(_lines(text)):
        if gone[line]:
            gone[line] -= 1
        else:
            lines.append(line)
    lines.reverse()
    lines += (new - old).elements()
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Split at newlines only, as resolvers do."""
    return text.removesuffix("\n").split("\n") if text else []


def make_volume(path: str) -> None:
    """Make a volume's folder if it is not there."""
    folder = Path(path)
    folders.make(folder.parent, folders.CLOSED)
    folder.mkdir(mode=0o755, exist_ok=True)
