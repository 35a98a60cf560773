"""``container prune`` and ``system prune``."""

from __future__ import annotations

from netd.cli.commands.prune import reports
from netd.cli.errors import UsageFault
from netd.cli.parse.common_flags import confirmed, selected_filters
from netd.cli.parse.filter_flags import CONTAINER_PRUNE, SYSTEM_PRUNE, filter_flag
from netd.cli.parse.flags import Command, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_FORCE = switch("force", "f", "Do not ask for confirmation")


def prune_containers(session: Session, options: Options) -> int:
    selected = selected_filters(options)
    if not confirmed(options, "WARNING! This will remove all stopped containers."):
        return 0
    return reports.print_reports([reports.containers(session, selected)])


def prune_system(session: Session, options: Options) -> int:
    """Remove stopped containers, then what no container uses any longer."""
    selected = selected_filters(options)
    everything, with_volumes = options.on("all"), options.on("volumes")
    if with_volumes and "until" in selected:
        raise UsageFault('the "until" filter is not supported with "--volumes": leave one of them out')
    if not confirmed(options, _question(options)):
        return 0
    found = [reports.containers(session, selected), reports.networks(session, selected)]
    if with_volumes:
        found.append(reports.volumes(session, selected))
    found.append(reports.images(session, selected, everything=everything))
    until = {key: values for key, values in selected.items() if key == "until"}
    if until == selected:
        found.append(reports.build_cache(session, until, everything=everything))
    return reports.print_reports(found)


def _question(options: Options) -> str:
    everything = options.on("all")
    objects = ["all stopped containers", "all networks not used by at least one container"]
    if options.on("volumes"):
        objects.append("all anonymous volumes not used by at least one container")
    objects.append(
        "all images without at least one container associated to them" if everything else "all dangling images"
    )
    objects.append("all build cache" if everything else "unused build cache")
    text = "WARNING! This will remove:\n" + "".join(f"  - {entry}\n" for entry in objects)
    if words := options.many("filter"):
        text += "\n  Items to be pruned will be filtered with:\n" + "".join(f"  - {word}\n" for word in words)
    return text


COMMANDS = {
    "container prune": Command(
        "container prune [FLAGS]",
        prune_containers,
        (filter_flag(CONTAINER_PRUNE, short="", what="Filter the containers to remove"), _FORCE),
        max_args=0,
    ),
    "system prune": Command(
        "system prune [FLAGS]",
        prune_system,
        (
            switch("all", "a", "Remove all unused images and the whole build cache, not only what has no name"),
            filter_flag(SYSTEM_PRUNE, short="", what="Filter the objects to remove"),
            _FORCE,
            switch("volumes", "", "Remove anonymous volumes as well"),
        ),
        max_args=0,
    ),
}
