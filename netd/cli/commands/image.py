"""The ``image`` verbs, and their shortcuts ``images``, ``rmi``, ``tag`` and ``history``."""

from __future__ import annotations

import os
import sys

from netd.cli.commands.inspect import FORMAT, inspect_kind
from netd.cli.errors import Fault
from netd.cli.output.columns import short_id, table, truncate
from netd.cli.parse.common_flags import filters, wants_json
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_json, print_line, request_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_CHUNK = 1 << 18
_CREATED_BY_LENGTH = 45
_NO_NAME = "<none>"


def import_(session: Session, options: Options) -> int:
    """Upload a tar archive (``-`` for standard input) and print the id of the new image."""
    path, *names = options.args
    repository, tag = split_name(names[0]) if names else ("", "")
    query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), ("message", options.text("message"))]
    query += [("changes", change) for change in options.many("change")]
    fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        response = session.engine.upload("/images/create", query, _chunks(fd))
    finally:
        if fd:
            os.close(fd)
    for line in response.lines():
        _progress(line)
    return 0


def ls(session: Session, options: Options) -> int:
    filter_json = filters(options)
    if options.args:
        from json import dumps, loads

        filter_json = dumps({**loads(filter_json or "{}"), "reference": {options.args[0]: True}})
    images = session.engine.get("/images/json", (("all", "1" if options.on("all") else ""), ("filters", filter_json)))
    if wants_json(options):
        print_json(images)
        return 0
    full = options.on("no-trunc")
    if options.on("quiet"):
        for id in dict.fromkeys(image["Id"] for image in images):
            print_line(id if full else short_id(id))
        return 0
    rows = [row for image in images for row in _rows(image, full)]
    sys.stdout.write(table(("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"), rows))
    return 0


def remove(session: Session, options: Options) -> int:
    query = [(key, "1") for key, name in (("force", "force"), ("noprune", "no-prune")) if options.on(name)]

    def show(name: str, found: list[dict[str, str]]) -> None:
        for entry in found or ():
            for what, reference in entry.items():
                print_line(f"{what}: {reference}")

    return request_each(options.args, lambda name: session.engine.send("DELETE", f"/images/{name}", query=query), show)


def tag(session: Session, options: Options) -> int:
    source, name = options.args
    repository, label = split_name(name)
    session.engine.post(f"/images/{source}/tag", query=(("repo", repository), ("tag", label)))
    return 0


def history(session: Session, options: Options) -> int:
    layers = session.engine.get(f"/images/{options.args[0]}/history")
    if wants_json(options):
        print_json(layers)
        return 0
    full = options.on("no-trunc")
    if options.on("quiet"):
        for layer in layers:
            print_line(_layer_id(layer, full))
        return 0
    head = ("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT")
    sys.stdout.write(table(head, [_layer(layer, full) for layer in layers]))
    return 0


def split_name(name: str) -> tuple[str, str]:
    """Return repository and tag; a colon before the last slash separates a registry's port."""
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, ""
    return repository, tag


def _chunks(fd: int) -> Iterator[bytes]:
    while piece := os.read(fd, _CHUNK):
        yield piece


def _progress(line: bytes) -> None:
    """Print the status of one line of the daemon's progress stream.  Raises Fault for an error line."""
    from json import loads

    report = loads(line)
    if error := report.get("error"):
        raise Fault(error)
    if status := report.get("status") or report.get("stream"):
        print_line(status.rstrip("\n"))


def _rows(image: Json, full: bool) -> list[list[str]]:
    from netd.cli.output.human import ago, size

    id = image["Id"] if full else short_id(image["Id"])
    rest = [id, ago(image["Created"]), size(image["Size"])]
    names = [split_name(name) for name in image["RepoTags"] or ()]
    if not names:
        digests = [digest.partition("@")[0] for digest in image["RepoDigests"] or ()]
        names = [(digests[0] if digests else _NO_NAME, _NO_NAME)]
    return [[repository, label or _NO_NAME, *rest] for repository, label in names]


def _layer(layer: Json, full: bool) -> list[str]:
    from netd.cli.output.human import ago, size

    made = " ".join(layer["CreatedBy"].split())
    return [
        _layer_id(layer, full),
        ago(layer["Created"]),
        made if full else truncate(made, _CREATED_BY_LENGTH),
        size(layer["Size"]),
        layer["Comment"],
    ]


def _layer_id(layer: Json, full: bool) -> str:
    return str(layer["Id"]) if full else short_id(layer["Id"])


_FORMAT = text("format", "", "json|table", "Output format", values="words:json table")

COMMANDS = {
    "image import": Command(
        "image import [FLAGS] FILE|- [REPOSITORY[:TAG]]",
        import_,
        (
            many(
                "change",
                "c",
                "INSTRUCTION",
                "Apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, USER, WORKDIR …",
            ),
            text("message", "m", "TEXT", "Comment of the layer"),
        ),
        min_args=1,
        max_args=2,
        completions=("file", "image"),
    ),
    "image ls": Command(
        "image ls [FLAGS] [REPOSITORY[:TAG]]",
        ls,
        (
            switch("all", "a", "Show images without a name as well"),
            many("filter", "f", "KEY=VALUE", "Filter the list: reference, label, dangling, before, since"),
            _FORMAT,
            switch("no-trunc", "", "Print ids in full"),
            switch("quiet", "q", "Print ids only"),
        ),
        max_args=1,
        completions=("image",),
    ),
    "image rm": Command(
        "image rm [FLAGS] IMAGE [IMAGE...]",
        remove,
        (
            switch("force", "f", "Remove the image even if a stopped container uses it"),
            switch("no-prune", "", "Keep untagged parent images"),
        ),
        min_args=1,
        completions=("image",),
    ),
    "image tag": Command("image tag IMAGE NAME[:TAG]", tag, min_args=2, max_args=2, completions=("image",)),
    "image inspect": Command(
        "image inspect [FLAGS] IMAGE [IMAGE...]", inspect_kind("image"), (FORMAT,), min_args=1, completions=("image",)
    ),
    "image history": Command(
        "image history [FLAGS] IMAGE",
        history,
        (_FORMAT, switch("no-trunc", "", "Print everything in full"), switch("quiet", "q", "Print ids only")),
        min_args=1,
        max_args=1,
        completions=("image",),
    ),
}
