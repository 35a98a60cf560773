"""``doctor``: what prevents traffic of containers, and the command that permits it."""

from __future__ import annotations

from netd.cli.parse.common_flags import wants_json
from netd.cli.parse.flags import Command, text
from netd.cli.session import print_json, print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_ARRIVED = {True: "arrived", False: "did not arrive", None: "could not be sent from here"}


def doctor(session: Session, options: Options) -> int:
    """Print the traffic that other programs' rules drop; the exit code is 1 if there is any."""
    found = session.netd.get("/netd/v1/doctor")
    lost = [probe for probe in found["Probes"] if probe["Arrived"] is False]
    if wants_json(options):
        print_json(found)
        return 1 if found["Dropped"] or lost else 0
    for probe in found["Probes"]:
        print_line(
            f"{probe['Traffic']} packet from {probe['Source']} to {probe['Destination']}: {_ARRIVED[probe['Arrived']]}"
        )
    if not found["Probes"]:
        print_line("no packet was sent: no container runs on a bridge network")
    for chain, group in _by_chain(found["Dropped"]).items():
        kinds = ", ".join(dict.fromkeys(f"{entry['Traffic']} (IPv{entry['Family']})" for entry in group))
        print_line(f"{chain} drops: {kinds}")
        for command in dict.fromkeys(entry["Remedy"] for entry in group):
            print_line(f"  permit it with: {command}")
    if lost and not found["Dropped"]:
        print_line(
            "no forward rule was found that drops these packets: look at the rules of other hooks (raw, prerouting)"
        )
    if not found["Dropped"] and not lost:
        print_line("no rule of another program drops traffic that the rules of netd admit")
    return 1 if found["Dropped"] or lost else 0


def _by_chain(dropped: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in dropped:
        groups.setdefault(f"{entry['Chain']} ({entry['Reason']})", []).append(entry)
    return groups


_FORMAT = text("format", "f", "json|table", "Output format", values="words:json table")

COMMANDS = {"doctor": Command("doctor [FLAGS]", doctor, (_FORMAT,), max_args=0)}
