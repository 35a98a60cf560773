"""Requests of all kinds of prune, and the output of what was removed."""

from __future__ import annotations

from netd.cli.output.human import size
from netd.cli.parse.common_flags import encoded_filters
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from netd.cli.session import Session

    Selected = dict[str, dict[str, bool]]


class Report:
    """What a prune removed: a line for each object, and the bytes that were freed."""

    def __init__(self, title: str, lines: Iterable[str], freed: int = 0) -> None:
        self.title, self.lines, self.freed = title, list(lines), freed


def containers(session: Session, selected: Selected) -> Report:
    found = session.engine.post("/containers/prune", query=_query(selected))
    return Report("Deleted Containers:", found["ContainersDeleted"] or (), found["SpaceReclaimed"])


def networks(session: Session, selected: Selected) -> Report:
    found = session.networks.post("/networks/prune", query=_query(selected))
    return Report("Deleted Networks:", found["NetworksDeleted"] or ())


def volumes(session: Session, selected: Selected) -> Report:
    found = session.engine.post("/volumes/prune", query=_query(selected))
    return Report("Deleted Volumes:", found["VolumesDeleted"] or (), found["SpaceReclaimed"])


def images(session: Session, selected: Selected, *, everything: bool) -> Report:
    """Remove unnamed images, with *everything* all images without a container; a filter ``dangling`` is kept."""
    filters = {"dangling": {"false" if everything else "true": True}, **selected}
    found = session.engine.post("/images/prune", query=_query(filters))
    lines = [f"{what.lower()}: {name}" for entry in found["ImagesDeleted"] or () for what, name in entry.items()]
    return Report("Deleted Images:", lines, found["SpaceReclaimed"])


def build_cache(session: Session, selected: Selected, *, everything: bool, kept: int = 0) -> Report:
    """Remove the build cache, the steps used least recently first, until at most *kept* bytes remain."""
    query = [*_query(selected), ("all", "1" if everything else ""), ("keep-storage", str(kept) if kept else "")]
    found = session.engine.post("/build/prune", query=query)
    return Report("Deleted build cache objects:", found["CachesDeleted"] or (), found["SpaceReclaimed"])


def print_reports(reports: Sequence[Report], *, total: bool = True) -> int:
    """Print the objects of each report, and the sum of the freed bytes with *total*; return the exit code."""
    for report in reports:
        if report.lines:
            print_line("\n".join([report.title, *report.lines, ""]))
    if total:
        print_line(f"Total reclaimed space: {size(sum(report.freed for report in reports), 4)}")
    return 0


def _query(selected: Selected) -> list[tuple[str, Any]]:
    return [("filters", encoded_filters(selected))]
