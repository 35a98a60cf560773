"""The files and folders of one container on the host.  All functions block."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from netd.common import folders
from runtime.kernel import openat
from runtime.paths import ContainerPaths

_log = logging.getLogger(__name__)
_MAX_HOSTS_SIZE = 1 << 20


def write_files(own: ContainerPaths, *, hostname: str, hosts: str, resolv_conf: str) -> None:
    """Write the container's hostname, hosts and resolv.conf."""
    for path, text in ((own.hostname, f"{hostname}\n"), (own.hosts, hosts), (own.resolv_conf, resolv_conf)):
        overwrite(path, text)


def create_files(own: ContainerPaths) -> None:
    """Create the files of :func:`write_files` that do not exist, empty: they are mounted before they are written."""
    for path in (own.hostname, own.hosts, own.resolv_conf):
        if not path.exists():
            overwrite(path, "")


def overwrite(path: Path, text: str) -> None:
    """Write in place: the file is bind-mounted, and after a rename the container would still see the old file."""
    openat.overwrite_path(path, text.encode(errors="surrogateescape"))


def rewrite_hosts(own: ContainerPaths, before: str, after: str) -> bool:
    """Remove the lines from the hosts file that only *before* has, and add those that only *after* has.

    All other lines stay.  A file that is larger than 1 MiB or unreadable is not changed: the reason is logged and False
    returned.  The unchanged file then lacks new addresses of the container itself; it never names other containers.
    """
    if before == after:
        return True
    try:
        current = openat.read_path(own.hosts, _MAX_HOSTS_SIZE).decode(errors="surrogateescape")
        overwrite(own.hosts, after if current == before else with_line_changes(current, before, after))
    except OSError as error:
        reason = error.strerror
        _log.warning("hosts file not updated: container=%s error=%s", own.folder.name[:12], reason)
        return False
    return True


def rewrite_resolv_conf(own: ContainerPaths, before: str, after: str) -> None:
    """Replace the contents *before* of resolv.conf; contents that the container has changed stay."""
    if before == after:
        return
    try:
        if openat.read_path(own.resolv_conf, _MAX_HOSTS_SIZE).decode(errors="surrogateescape") == before:
            overwrite(own.resolv_conf, after)
    except OSError as error:
        _log.warning("resolv.conf not updated: container=%s error=%s", own.folder.name[:12], error.strerror)


def with_line_changes(text: str, before: str, after: str) -> str:
    """Return *text* with the line changes from *before* to *after* applied."""
    old, new = Counter(_lines(before)), Counter(_lines(after))
    removed = old - new
    lines = []
    for line in reversed(_lines(text)):
        if removed[line]:
            removed[line] -= 1
        else:
            lines.append(line)
    lines.reverse()
    lines += (new - old).elements()
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Split at newlines only, as resolvers do."""
    return text.removesuffix("\n").split("\n") if text else []


def create_volume_folder(path: str) -> None:
    """Create a volume's folder if it is missing."""
    folder = Path(path)
    folders.make(folder.parent, folders.CLOSED)
    folder.mkdir(mode=0o755, exist_ok=True)
