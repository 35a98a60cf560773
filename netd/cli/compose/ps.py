"""``ps``: the containers of a project."""

from __future__ import annotations

from netd.cli.compose.acting.project_containers import project_containers
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.errors import Fault
from netd.cli.parse.common_flags import list_format, show_list
from netd.cli.parse.flags import Command, many, switch
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.plan.existing import ExistingContainer

    Json = dict[str, Any]

_STATES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")
_HEADERS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "Project": "PROJECT",
    "Service": "SERVICE",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "State": "STATE",
    "Status": "STATUS",
    "Health": "HEALTH",
    "ExitCode": "EXIT CODE",
    "Ports": "PORTS",
    "Publishers": "PUBLISHERS",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
_COLUMNS = ("Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports")


def ps(session: Session, options: Options) -> int:
    states = _wanted_states(options)
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = active.services(options.args)
    everything = options.on("all") or bool(states)
    found = project_containers(context.engine, active.name, stopped=everything, one_off=None if everything else False)
    shown = [
        container
        for container in found
        if (container.service in keys or (not options.args and options.on("orphans", default=True)))
        and (not states or container.state in states)
    ]
    if options.on("services"):
        for service in dict.fromkeys(container.service for container in shown):
            print_line(service)
        return 0
    if options.on("quiet"):
        for container in shown:
            print_line(container.id)
        return 0
    if options.text("format") == "json":
        return _print_json(context, shown, options.on("no-trunc"))
    rows = [_row(context, container, options.on("no-trunc")) for container in shown]
    return show_list(options, _HEADERS, _COLUMNS, rows, "ID")


def _row(context: ComposeContext, container: ExistingContainer, full: bool) -> Json:
    from netd.cli.commands.ps import container_row

    state = context.engine.get(f"/containers/{container.id}/json")["State"]
    row = container_row(container.entry, full)
    return {
        **row,
        "Name": container.name,
        "Names": container.name,
        "Project": container.labels.get("com.docker.compose.project", ""),
        "Service": container.service,
        "Health": (state.get("Health") or {}).get("Status", ""),
        "ExitCode": str(state.get("ExitCode", 0)),
        "Publishers": row["Ports"],
    }


def _print_json(context: ComposeContext, containers: list[ExistingContainer], full: bool) -> int:
    """Print an object per line with the types that Docker's compose has."""
    from json import dumps

    for container in containers:
        row = _row(context, container, full)
        row["ExitCode"] = int(row["ExitCode"])
        row["Publishers"] = [
            {
                "URL": port.get("IP", ""),
                "TargetPort": port["PrivatePort"],
                "PublishedPort": port.get("PublicPort", 0),
                "Protocol": port["Type"],
            }
            for port in container.entry.get("Ports") or ()
        ]
        plain = {name: value for name, value in sorted(row.items()) if not callable(value)}
        print_line(dumps(plain, ensure_ascii=False, separators=(",", ":")))
    return 0


def _wanted_states(options: Options) -> list[str]:
    states = options.many("status")
    for word in options.many("filter"):
        key, _, value = word.partition("=")
        if key not in ("status", "source"):
            raise Fault(f"unknown filter {key}: use status")
        states = [*states, value] if key == "status" else states
    for state in states:
        if state not in _STATES:
            raise options.refuse("status", state, f"use {', '.join(_STATES)}")
    return states


COMMANDS = {
    "compose ps": Command(
        "compose ps [FLAGS] [SERVICE...]",
        ps,
        (
            switch("all", "a", "Show stopped containers and those of run as well"),
            many("filter", "", "KEY=VALUE", "Filter the list: status"),
            list_format(),
            switch("no-trunc", "", "Do not truncate the output"),
            switch("orphans", "", "Show containers of services that the file does not have (true)"),
            switch("quiet", "q", "Print ids only"),
            switch("services", "", "Print the names of services only"),
            many("status", "", "STATE", "Show containers in this state", values=f"words:{' '.join(_STATES)}"),
        ),
        completions=("service",),
    )
}
