"""The ``volume`` verbs."""

from __future__ import annotations

import sys

from netd.cli.commands.inspect import FORMAT, one_kind
from netd.cli.output.columns import table
from netd.cli.parse.common_flags import confirmed, filters, pairs, wants_json
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import dump, each, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_PRUNE = "WARNING! This will remove {} volumes not used by at least one container."


def create(session: Session, options: Options) -> int:
    body = {
        "Name": options.args[0] if options.args else "",
        "Driver": options.text("driver", "local"),
        "DriverOpts": pairs(options.many("opt")),
        "Labels": pairs(options.many("label")),
    }
    say(session.engine.post("/volumes/create", body)["Name"])
    return 0


def ls(session: Session, options: Options) -> int:
    found = session.engine.get("/volumes", (("filters", filters(options)),))["Volumes"] or []
    if wants_json(options):
        dump(found)
        return 0
    found.sort(key=lambda volume: volume["Name"])
    if options.on("quiet"):
        for volume in found:
            say(volume["Name"])
    else:
        sys.stdout.write(table(("DRIVER", "VOLUME NAME"), [(v["Driver"], v["Name"]) for v in found]))
    return 0


def remove(session: Session, options: Options) -> int:
    query = (("force", "1" if options.on("force") else ""),)
    return each(options.args, lambda name: session.engine.ask("DELETE", f"/volumes/{name}", query=query))


def prune(session: Session, options: Options) -> int:
    from json import dumps, loads

    from netd.cli.output.human import size

    everything = options.on("all")
    if not confirmed(options, _PRUNE.format("all" if everything else "nameless")):
        return 0
    wanted = loads(filters(options) or "{}")
    if everything:
        wanted["all"] = {"true": True}
    found = session.engine.post("/volumes/prune", query=(("filters", dumps(wanted) if wanted else ""),))
    removed = found["VolumesDeleted"] or []
    if removed:
        say("Deleted Volumes:")
    for name in removed:
        say(name)
    say(f"Total reclaimed space: {size(found['SpaceReclaimed'], 4)}")
    return 0


COMMANDS = {
    "volume create": Command(
        "volume create [FLAGS] [VOLUME]",
        create,
        (
            text("driver", "d", "NAME", "Driver of the volume (local)"),
            many("label", "", "KEY[=VALUE]", "Label"),
            many("opt", "o", "KEY=VALUE", "Option of the driver"),
        ),
        most=1,
        offers=("none",),
    ),
    "volume ls": Command(
        "volume ls [FLAGS]",
        ls,
        (
            many("filter", "f", "KEY=VALUE", "Show only what fits: name, label, driver, dangling"),
            text("format", "", "json|table", "How to print", values="words:json table"),
            switch("quiet", "q", "Print names only"),
        ),
        most=0,
    ),
    "volume inspect": Command(
        "volume inspect [FLAGS] VOLUME [VOLUME...]", one_kind("volume"), (FORMAT,), least=1, offers=("volume",)
    ),
    "volume rm": Command(
        "volume rm [FLAGS] VOLUME [VOLUME...]",
        remove,
        (switch("force", "f", "One that is not there is no error"),),
        least=1,
        offers=("volume",),
    ),
    "volume prune": Command(
        "volume prune [FLAGS]",
        prune,
        (
            switch("all", "a", "Also those with names"),
            many("filter", "", "KEY=VALUE", "Remove only what fits: label, label!"),
            switch("force", "f", "Do not ask"),
        ),
        most=0,
    ),
}
