"""The ``image`` verbs but those of archives, and their shortcuts ``images``, ``rmi``, ``tag`` and ``history``."""

from __future__ import annotations

from netd.cli.commands.inspect import FORMAT, inspect_kind
from netd.cli.output.columns import short_id, truncate
from netd.cli.parse.common_flags import confirmed, encoded_filters, list_format, selected_filters, show_list
from netd.cli.parse.filter_flags import IMAGE_PRUNE, IMAGES, filter_flag
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_line, request_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_CREATED_BY_LENGTH = 45
_NO_NAME = "<none>"
_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "VirtualSize": "SIZE", "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
}  # fmt: skip
_HISTORY_HEADERS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip
_PRUNE = "WARNING! This will remove all dangling images."
_PRUNE_ALL = "WARNING! This will remove all images without at least one container associated to them."


def ls(session: Session, options: Options) -> int:
    selected = selected_filters(options)
    if options.args:
        selected["reference"] = {options.args[0]: True}
    query = (("all", "1" if options.on("all") else ""), ("filters", encoded_filters(selected)))
    images = session.engine.get("/images/json", query)
    full, digests = options.on("no-trunc"), options.on("digests")
    if options.on("quiet"):
        for id in dict.fromkeys(image["Id"] for image in images):
            print_line(id if full else short_id(id))
        return 0
    columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
    shows_digests = digests or ".Digest" in options.text("format")
    rows = [row for image in images for row in image_rows(image, full, digests=shows_digests)]
    return show_list(options, _HEADERS, columns, rows, "ID")


def remove(session: Session, options: Options) -> int:
    query = [(key, "1") for key, name in (("force", "force"), ("noprune", "no-prune")) if options.on(name)]
    query += [("platforms", word) for word in options.many("platform")]

    def show(name: str, found: list[dict[str, str]]) -> None:
        for entry in found or ():
            for what, reference in entry.items():
                print_line(f"{what}: {reference}")

    return request_each(
        options.args,
        lambda name: session.engine.send("DELETE", f"/images/{name}", query=query),
        show,
        tolerant=options.on("force"),
    )


def tag(session: Session, options: Options) -> int:
    source, name = options.args
    repository, label = split_name(name)
    session.engine.post(f"/images/{source}/tag", query=(("repo", repository), ("tag", label)))
    return 0


def history(session: Session, options: Options) -> int:
    layers = session.engine.get(f"/images/{options.args[0]}/history", (("platform", options.text("platform")),))
    full = options.on("no-trunc")
    human = options.text("human", "true") in ("true", "1")
    columns = ("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment")
    return show_list(options, _HISTORY_HEADERS, columns, [_layer(layer, full, human) for layer in layers], "ID")


def prune(session: Session, options: Options) -> int:
    from netd.cli.commands.prune.reports import images, print_reports

    selected = selected_filters(options)
    if not confirmed(options, _PRUNE_ALL if options.on("all") else _PRUNE):
        return 0
    return print_reports([images(session, selected, everything=options.on("all"))])


def split_name(name: str) -> tuple[str, str]:
    """Return repository and tag; a colon before the last slash separates a registry's port."""
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, ""
    return repository, tag


def image_rows(image: Json, full: bool, *, digests: bool) -> list[Row]:
    """Return the rows of an image in a list: one for each tag, and with *digests* for each tag and digest."""
    from netd.cli.commands.ps import moment
    from netd.cli.output.human import ago, size

    shared = image.get("SharedSize", -1)
    common = {
        "ID": image["Id"] if full else short_id(image["Id"]),
        "CreatedSince": ago(image["Created"]),
        "CreatedAt": moment(image["Created"]),
        "Size": size(image["Size"]),
        "VirtualSize": size(image["Size"]),
        "SharedSize": size(shared, 4) if shared >= 0 else "N/A",
        "UniqueSize": size(image["Size"] - shared, 4) if shared >= 0 else "N/A",
        "Containers": str(image.get("Containers", -1)) if image.get("Containers", -1) >= 0 else "N/A",
    }
    return [
        {**common, "Repository": repository, "Tag": tag, "Digest": digest}
        for repository, tag, digest in _names(image, digests)
    ]


def _names(image: Json, digests: bool) -> list[tuple[str, str, str]]:
    """Return (repository, tag, digest) of each row, as docker does."""
    tags, known = _by_repository(image["RepoTags"], split_name), _by_repository(image["RepoDigests"], _split_digest)
    found = []
    for repository, names in tags.items():
        shown = known.get(repository) if digests else None
        found += [(repository, tag, digest) for tag in names for digest in shown or [_NO_NAME]]
    for repository, names in known.items():
        if repository not in tags:
            found += [(repository, _NO_NAME, digest) for digest in (names if digests else [_NO_NAME])]
    return found or [(_NO_NAME, _NO_NAME, _NO_NAME)]


def _by_repository(names: list[str] | None, split: Callable[[str], tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names or ():
        repository, rest = split(name)
        found.setdefault(repository, []).append(rest)
    return found


def _split_digest(name: str) -> tuple[str, str]:
    repository, _, digest = name.partition("@")
    return repository, digest


def _layer(layer: Json, full: bool, human: bool) -> Row:
    from datetime import UTC, datetime

    from netd.cli.output.human import ago, size

    made = " ".join(layer["CreatedBy"].split())
    return {
        "ID": str(layer["Id"]) if full else short_id(layer["Id"]),
        "CreatedSince": ago(layer["Created"]),
        "CreatedAt": datetime.fromtimestamp(layer["Created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "CreatedBy": made if full else truncate(made, _CREATED_BY_LENGTH),
        "Size": size(layer["Size"]) if human else str(layer["Size"]),
        "Comment": layer["Comment"],
    }


_PLATFORM = text("platform", "", "OS/ARCHITECTURE", "Fail if the image is for another platform")

COMMANDS = {
    "image ls": Command(
        "image ls [FLAGS] [REPOSITORY[:TAG]]",
        ls,
        (
            switch("all", "a", "Show images without a name as well"),
            switch("digests", "", "Show digests"),
            filter_flag(IMAGES),
            list_format(),
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
            switch("force", "f", "Remove names of images in use, and images that stopped containers use"),
            switch("no-prune", "", "Keep untagged parent images"),
            many("platform", "", "OS/ARCHITECTURE", "Remove the image only if it is for this platform"),
        ),
        min_args=1,
        completions=("image",),
    ),
    "image tag": Command("image tag IMAGE NAME[:TAG]", tag, min_args=2, max_args=2, completions=("image",)),
    "image inspect": Command(
        "image inspect [FLAGS] IMAGE [IMAGE...]",
        inspect_kind("image", "platform"),
        (FORMAT, _PLATFORM),
        min_args=1,
        completions=("image",),
    ),
    "image history": Command(
        "image history [FLAGS] IMAGE",
        history,
        (
            list_format(),
            switch("human", "H", "Print sizes and dates for people (default true)"),
            switch("no-trunc", "", "Print everything in full"),
            _PLATFORM,
            switch("quiet", "q", "Print ids only"),
        ),
        min_args=1,
        max_args=1,
        completions=("image",),
    ),
    "image prune": Command(
        "image prune [FLAGS]",
        prune,
        (
            switch("all", "a", "Remove all images without a container, not only those without a name"),
            filter_flag(IMAGE_PRUNE, short="", what="Filter the images to remove"),
            switch("force", "f", "Do not ask for confirmation"),
        ),
        max_args=0,
    ),
}
