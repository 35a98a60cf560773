"""The verbs that read and write archives of images, ``load``, ``save`` and ``image import``; and ``commit``."""

from __future__ import annotations

import os
import sys

from netd.cli import signal_waits
from netd.cli.commands.image import split_name
from netd.cli.errors import Fault
from netd.cli.files import output_file
from netd.cli.output.byte_counter import ByteCounter
from netd.cli.output.progress_display import show
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.cli.transport.http import HttpResponse

_CHUNK = 1 << 18


def import_(session: Session, options: Options) -> int:
    """Upload a tar archive (``-`` for standard input) and print the id of the new image."""
    path, *names = options.args
    repository, tag = split_name(names[0]) if names else ("", "")
    query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), ("message", options.text("message"))]
    query += [("changes", change) for change in options.many("change")]
    query += [("platform", options.text("platform"))]
    show(_upload(session, "/images/create", query, path).lines())
    return 0


def load(session: Session, options: Options) -> int:
    """Upload an archive of images, and print the names that it brought."""
    path = options.text("input", "-")
    if path == "-" and os.isatty(0):
        raise Fault("requested load from stdin, but stdin is empty")
    quiet = options.on("quiet") or not sys.stdout.isatty()
    query = (("quiet", "1" if quiet else "0"), ("platform", options.text("platform")))
    show(_upload(session, "/images/load", query, path, quiet=quiet).lines())
    return 0


def _upload(
    session: Session, path: str, query: Iterable[tuple[str, str]], source: str, *, quiet: bool = False
) -> HttpResponse:
    if os.path.isdir(source):
        raise Fault(f"{source} is a directory: name an archive, or pipe it: tar -C {source} -c . | netctl …")
    fd = 0 if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    counter = ByteCounter("Sending the archive", quiet=quiet)
    try:
        return session.engine.upload(path, query, counter.count(_chunks(fd)))
    finally:
        if fd:
            os.close(fd)


def _chunks(fd: int) -> Iterator[bytes]:
    while piece := signal_waits.read(fd, _CHUNK):
        yield piece


def save(session: Session, options: Options) -> int:
    """Write images to a file, which exists only when it is complete, or to standard output."""
    path = options.text("output")
    output_file.check(path)
    query = [("names", name) for name in options.args] + [("platform", options.text("platform"))]
    response = session.engine.call("GET", "/images/get", query=query)
    chunks = ByteCounter("Saving").count(response.chunks())
    output_file.write(path, chunks)
    return 0


def commit(session: Session, options: Options) -> int:
    """Make an image of a container, and print its id."""
    container, *names = options.args
    repository, tag = split_name(names[0]) if names else ("", "")
    query = [
        ("container", container),
        ("repo", repository),
        ("tag", tag),
        ("author", options.text("author")),
        ("comment", options.text("message")),
        ("pause", "1" if options.text("pause", "true") in ("true", "1") else "0"),
    ]
    query += [("changes", change) for change in options.many("change")]
    print_line(session.engine.post("/commit", query=query)["Id"])
    return 0


_CHANGE = many(
    "change", "c", "INSTRUCTION", "Apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, USER, WORKDIR …"
)
_PLATFORM = "OS/ARCHITECTURE[/VARIANT]"

COMMANDS = {
    "image import": Command(
        "image import [FLAGS] FILE|- [REPOSITORY[:TAG]]",
        import_,
        (
            _CHANGE,
            text("message", "m", "TEXT", "Comment of the layer"),
            text("platform", "", _PLATFORM, "Platform of the image, by default that of this host"),
        ),
        min_args=1,
        max_args=2,
        completions=("file", "image"),
    ),
    "image load": Command(
        "image load [FLAGS]",
        load,
        (
            text("input", "i", "FILE", "Read the archive from a file instead of standard input", values="file"),
            text("platform", "", _PLATFORM, "Load the image for this platform, of an archive with several"),
            switch("quiet", "q", "Print the names of the images only"),
        ),
        max_args=0,
    ),
    "image save": Command(
        "image save [FLAGS] IMAGE [IMAGE...]",
        save,
        (
            text("output", "o", "FILE", "Write the archive to a file instead of standard output", values="file"),
            text("platform", "", _PLATFORM, "Save images for this platform only"),
        ),
        min_args=1,
        completions=("image",),
    ),
    "commit": Command(
        "commit [FLAGS] CONTAINER [REPOSITORY[:TAG]]",
        commit,
        (
            text("author", "a", "TEXT", "Author of the image"),
            _CHANGE,
            text("message", "m", "TEXT", "Comment of the layer"),
            switch("pause", "p", "Suspend the container meanwhile (default true)"),
        ),
        min_args=1,
        max_args=2,
        completions=("container", "image"),
    ),
}
