"""``cp``, ``export`` and ``diff``: the files of a container."""

from __future__ import annotations

import os
import sys

from netd.cli import signal_waits
from netd.cli.errors import ApiFault, Fault
from netd.cli.files import output_file
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import print_line, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from netd.cli.files.copy_rules import CopySource, CopyTarget
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_CHUNK = 1 << 20
_LINK, _DIRECTORY = 1 << 27, 1 << 31
"""Bits of the mode in the description of a file in a container."""
_SPECIAL = 1 << 24 | 1 << 25 | 1 << 26
_MOST_LINKS = 10
_KINDS = ("C", "A", "D")


def copy(session: Session, options: Options) -> int:
    from netd.cli.files.copy_rules import split_argument

    (source, source_path), (target, target_path) = map(split_argument, options.args)
    if source and target:
        raise Fault("copying between containers is not supported")
    if source:
        return _from_container(session, options, source, source_path, target_path)
    if target:
        return _to_container(session, options, source_path, target, target_path)
    raise Fault("must specify at least one container source")


def export(session: Session, options: Options) -> int:
    path = options.text("output")
    output_file.check(path)
    output_file.write(path, session.engine.call("GET", f"/containers/{options.args[0]}/export").chunks())
    return 0


def diff(session: Session, options: Options) -> int:
    for change in session.engine.get(f"/containers/{options.args[0]}/changes") or ():
        print_line(f"{_KINDS[change['Kind']]} {change['Path']}")
    return 0


# From a container


def _from_container(session: Session, options: Options, container: str, path: str, target: str) -> int:
    from netd.cli.files.copy_rules import CopySource, place, renamed

    base = ""
    if options.on("follow-link"):
        path, base = _followed(session, container, path)
    query = (("path", path),)
    response = session.engine.call("GET", f"/containers/{container}/archive", query=query)
    if target == "-":
        if os.isatty(1):
            raise Fault("cowardly refusing to save to a terminal: redirect the output")
        output_file.write("", response.chunks())
        return 0
    stat = _decoded(response.headers)
    source = CopySource(path, bool(stat["mode"] & _DIRECTORY))
    directory, name = place(source, _local_target(target))
    name = name or base
    from netd.cli.files.extraction import extract

    progress = _Progress(options, f"{container}:{path}", target)
    extract(
        progress.count(response.chunks()),
        directory,
        lambda member: renamed(member, source.base, name),
        owners=options.on("archive"),
        warn=warn,
    )
    progress.end()
    return 0


def _followed(session: Session, container: str, path: str) -> tuple[str, str]:
    """Return the path that the symbolic link *path* leads to, and the name to extract it under; empty to keep it."""
    from netd.cli.files.copy_rules import split

    stat = _describe(session, container, path)
    if stat is None or not stat["mode"] & _LINK:
        return path, ""
    link: str = stat["linkTarget"]
    old, new = split(path)[1], split(link)[1]
    return link, old if old != new else ""


def _local_target(path: str) -> CopyTarget:
    """Describe the target on the disk; symbolic links are followed, also to missing files."""
    from netd.cli.files.copy_rules import CopyTarget, split

    asserted = path
    for _ in range(_MOST_LINKS):
        if not os.path.islink(path.rstrip("/") or "/"):
            break
        path = os.path.join(os.path.dirname(path.rstrip("/")), os.readlink(path.rstrip("/")))
    else:
        raise Fault(f"too many symbolic links in {asserted}")
    if os.path.lexists(path.rstrip("/") or "/"):
        is_directory = os.path.isdir(path)
        if path.endswith(("/", "/.")) and not is_directory:
            raise Fault(f"{path}: not a directory")
        return CopyTarget(path, True, is_directory)
    parent = split(path)[0]
    if not os.path.isdir(parent):
        what = "is not a directory" if os.path.exists(parent) else "does not exist"
        raise Fault(f'invalid output path: directory "{parent}" {what}')
    return CopyTarget(path, False, False)


# To a container


def _to_container(session: Session, options: Options, path: str, container: str, target: str) -> int:
    from netd.cli.files.copy_rules import CopyTarget, place

    found = _describe(session, container, target)
    resolved = target
    if found is not None and found["mode"] & _LINK:
        resolved = found["linkTarget"]
        found = _describe(session, container, resolved)
    if found is not None and found["mode"] & _SPECIAL:
        raise Fault(f'destination "{container}:{target}" must be a directory or a regular file')
    is_directory = found is not None and bool(found["mode"] & _DIRECTORY)
    progress = _Progress(options, path, f"{container}:{target}")
    if path == "-":
        if not is_directory:
            raise Fault(f'destination "{container}:{target}" must be a directory')
        directory, chunks = resolved, _read(0)
    else:
        source, real = _local_source(path, options.on("follow-link"))
        directory, name = place(source, CopyTarget(resolved, found is not None, is_directory))
        from netd.cli.files.pack import archive

        chunks = archive(real, name or source.base)
    query = [("path", directory), ("noOverwriteDirNonDir", "true")]
    query += [("copyUIDGID", "true")] if options.on("archive") else []
    session.engine.upload(f"/containers/{container}/archive", query, progress.count(chunks), method="PUT").read()
    progress.end()
    return 0


def _local_source(path: str, follow: bool) -> tuple[CopySource, str]:
    """Return the source on the disk and the path to read it from.  The name in the archive is that of *path*."""
    from netd.cli.files.copy_rules import CopySource, split

    base = split(os.path.abspath(path) + ("/." if path.rsplit("/", 1)[-1] == "." else ""))[1]
    followed = follow or path.endswith(("/", "/.")) or path == "."
    real = os.path.realpath(path) if followed else path
    status = os.stat(real) if followed else os.lstat(real)
    is_directory = status.st_mode & 0o170000 == 0o040000
    if path.endswith("/") and not is_directory:
        raise Fault(f"{path}: not a directory")
    return CopySource(path, is_directory, base), real


# Both


def _describe(session: Session, container: str, path: str) -> dict[str, Any] | None:
    """Return the description of a file in the container; None if it does not exist or cannot be reached."""
    try:
        return _decoded(
            session.engine.call("HEAD", f"/containers/{container}/archive", query=(("path", path),)).headers
        )
    except ApiFault:
        return None


def _decoded(headers: dict[str, str]) -> dict[str, Any]:
    from base64 import b64decode
    from json import loads

    found: dict[str, Any] = loads(b64decode(headers["x-docker-container-path-stat"]))
    return found


def _read(fd: int) -> Iterator[bytes]:
    while data := signal_waits.read(fd, _CHUNK):
        yield data


class _Progress:
    """The number of bytes copied: a line on a terminal while copying, one at the end unless ``--quiet``."""

    def __init__(self, options: Options, source: str, target: str) -> None:
        from netd.cli.output.byte_counter import ByteCounter

        self._quiet = options.on("quiet")
        self._target = target
        self._counter = ByteCounter(f"Copying {source} to {target}", quiet=self._quiet)
        self.count = self._counter.count

    def end(self) -> None:
        self._counter.clear()
        if not self._quiet:
            sys.stderr.write(f"Successfully copied {self._counter.size()} to {self._target}\n")
            sys.stderr.flush()


COMMANDS = {
    "cp": Command(
        "cp [FLAGS] CONTAINER:PATH PATH|-  or  cp [FLAGS] PATH|- CONTAINER:PATH",
        copy,
        (
            switch("archive", "a", "Keep owners: of files from a container their ids, else the container's user"),
            switch("follow-link", "L", "Copy the target of a symbolic link, not the link"),
            switch("quiet", "q", "Print nothing but errors"),
        ),
        min_args=2,
        max_args=2,
        completions=("file",),
    ),
    "export": Command(
        "export [FLAGS] CONTAINER",
        export,
        (text("output", "o", "FILE", "Write to FILE, not to standard output", values="file"),),
        min_args=1,
        max_args=1,
        completions=("container",),
    ),
    "diff": Command("diff CONTAINER", diff, min_args=1, max_args=1, completions=("container",)),
}
