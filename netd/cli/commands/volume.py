"""The ``volume`` verbs."""

from __future__ import annotations

from netd.cli.commands.inspect import FORMAT, inspect_kind
from netd.cli.errors import UsageFault
from netd.cli.parse.common_flags import confirmed, filters, labels, list_format, pairs, selected_filters, show_list
from netd.cli.parse.filter_flags import VOLUME_PRUNE, VOLUMES, filter_flag
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_line, request_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Status": "STATUS",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
}

_PRUNE = "WARNING! This will remove {} local volumes not used by at least one container."


def create(session: Session, options: Options) -> int:
    body = {
        "Name": options.args[0] if options.args else "",
        "Driver": options.text("driver", "local"),
        "DriverOpts": pairs(options.many("opt")),
        "Labels": labels(options),
    }
    print_line(session.engine.post("/volumes/create", body)["Name"])
    return 0


def ls(session: Session, options: Options) -> int:
    volumes = session.engine.get("/volumes", (("filters", filters(options)),))["Volumes"] or []
    volumes.sort(key=lambda volume: volume["Name"])
    return show_list(options, _HEADERS, ("Driver", "Name"), list(map(_row, volumes)), "Name")


def _row(volume: Json) -> Row:
    from netd.cli.output.list_output import labels

    fields = {name: volume.get(name) or "" for name in ("Name", "Driver", "Scope", "Mountpoint")}
    return {**fields, "Status": "N/A", "Size": "N/A", "Links": "N/A", **labels(volume.get("Labels"))}


def remove(session: Session, options: Options) -> int:
    query = (("force", "1" if options.on("force") else ""),)
    return request_each(options.args, lambda name: session.engine.send("DELETE", f"/volumes/{name}", query=query))


def prune(session: Session, options: Options) -> int:
    from netd.cli.commands.prune.reports import print_reports, volumes

    selected = selected_filters(options)
    if options.on("all"):
        if "all" in selected:
            raise UsageFault("conflicting options: cannot specify both --all and --filter all=…")
        selected["all"] = {"true": True}
    if not confirmed(options, _PRUNE.format("all" if options.on("all") else "anonymous")):
        return 0
    return print_reports([volumes(session, selected)])


COMMANDS = {
    "volume create": Command(
        "volume create [FLAGS] [VOLUME]",
        create,
        (
            text("driver", "d", "NAME", "Driver of the volume (local)", values="volume-driver"),
            many("label", "", "KEY[=VALUE]", "Label"),
            many("opt", "o", "KEY=VALUE", "Option of the driver"),
        ),
        max_args=1,
        completions=("none",),
    ),
    "volume ls": Command(
        "volume ls [FLAGS]",
        ls,
        (
            filter_flag(VOLUMES),
            list_format(),
            switch("quiet", "q", "Print names only"),
        ),
        max_args=0,
    ),
    "volume inspect": Command(
        "volume inspect [FLAGS] VOLUME [VOLUME...]",
        inspect_kind("volume"),
        (FORMAT,),
        min_args=1,
        completions=("volume",),
    ),
    "volume rm": Command(
        "volume rm [FLAGS] VOLUME [VOLUME...]",
        remove,
        (switch("force", "f", "Ignore missing volumes"),),
        min_args=1,
        completions=("volume",),
    ),
    "volume prune": Command(
        "volume prune [FLAGS]",
        prune,
        (
            switch("all", "a", "Remove named volumes as well"),
            filter_flag(VOLUME_PRUNE, short="", what="Filter the volumes to remove"),
            switch("force", "f", "Do not ask for confirmation"),
        ),
        max_args=0,
    ),
}
