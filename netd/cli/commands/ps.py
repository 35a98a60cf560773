"""``ps`` and ``top``: lists containers, and processes of a container."""

from __future__ import annotations

import sys

from netd.cli.output.columns import short_id, table, truncate
from netd.cli.parse.common_flags import filters, wants_json
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_json, print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_COMMAND_LENGTH = 20


def ps(session: Session, options: Options) -> int:
    last = options.number("last") or (1 if options.on("latest") else 0)
    query = (
        ("all", "1" if options.on("all") or last > 0 else ""),
        ("limit", str(last) if last > 0 else ""),
        ("size", "1" if options.on("size") else ""),
        ("filters", filters(options)),
    )
    containers = session.engine.get("/containers/json", query)
    full = options.on("no-trunc")
    if wants_json(options):
        print_json(containers)
    elif options.on("quiet"):
        for container in containers:
            print_line(container["Id"] if full else short_id(container["Id"]))
    else:
        _print(containers, full, options.on("size"))
    return 0


def top(session: Session, options: Options) -> int:
    name, *arguments = options.args
    processes = session.engine.get(f"/containers/{name}/top", (("ps_args", " ".join(arguments)),))
    sys.stdout.write(table(processes["Titles"], processes["Processes"] or ()))
    return 0


def ports(entries: list[Json]) -> str:
    """Return the cell of a container's ports; consecutive ports with consecutive host ports are merged into a range."""
    runs: list[list[Json]] = []
    for entry in sorted(entries, key=_sort_key):
        if runs and _continues(runs[-1][-1], entry):
            runs[-1].append(entry)
        else:
            runs.append([entry])
    runs.sort(key=lambda run: (run[0]["PrivatePort"], run[0]["Type"], run[0].get("IP") or ""))
    return ", ".join(_port_run(run[0], run[-1]) for run in runs)


def _print(containers: list[Json], full: bool, sized: bool) -> None:
    from netd.cli.output.human import ago

    head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    rows = [
        [
            container["Id"] if full else short_id(container["Id"]),
            container["Image"] if full else short_image(container["Image"]),
            _quoted(container["Command"], full),
            ago(container["Created"]),
            container["Status"],
            ports(container["Ports"] or []),
            ",".join(_own_names(container["Names"] or [])),
        ]
        for container in containers
    ]
    if sized:
        head.append("SIZE")
        for row, container in zip(rows, containers, strict=True):
            row.append(_sizes(container))
    sys.stdout.write(table(head, rows))


def short_image(image: str) -> str:
    return short_id(image) if image.startswith("sha256:") else image


def _quoted(command: str, full: bool) -> str:
    shown = command.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown if full else truncate(shown, _COMMAND_LENGTH)}"'


def _own_names(names: list[str]) -> list[str]:
    """Return the container's own names, without the names that legacy links of other containers give it."""
    return [name[1:] for name in names if "/" not in name[1:]]


def _sizes(container: Json) -> str:
    from netd.cli.output.human import size

    own = size(container.get("SizeRw") or 0)
    virtual = container.get("SizeRootFs") or 0
    return f"{own} (virtual {size(virtual)})" if virtual else own


def _sort_key(entry: Json) -> tuple[Any, ...]:
    return (entry["Type"], entry.get("IP") or "", entry["PrivatePort"], entry.get("PublicPort") or 0)


def _continues(last: Json, entry: Json) -> bool:
    same = all((last.get(key) or "") == (entry.get(key) or "") for key in ("Type", "IP"))
    public = entry.get("PublicPort")
    step = public - (last.get("PublicPort") or 0) if public else 1 - (last.get("PublicPort") or 0)
    return same and bool(entry["PrivatePort"] - last["PrivatePort"] == 1 == step)


def _port_run(first: Json, last: Json) -> str:
    private = _span(first["PrivatePort"], last["PrivatePort"])
    if not first.get("PublicPort"):
        return f"{private}/{first['Type']}"
    public = _span(first["PublicPort"], last["PublicPort"])
    return f"{host_port(first.get('IP') or '', public)}->{private}/{first['Type']}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def host_port(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


COMMANDS = {
    "ps": Command(
        "ps [FLAGS]",
        ps,
        (
            switch("all", "a", "Show stopped containers as well"),
            many("filter", "f", "KEY=VALUE", "Filter the list: name, id, label, status, network, publish …"),
            text("format", "", "json|table", "Output format", values="words:json table"),
            text("last", "n", "NUMBER", "Show the NUMBER containers created last, running or stopped"),
            switch("latest", "l", "Show the container created last"),
            switch("no-trunc", "", "Do not truncate the output"),
            switch("quiet", "q", "Print ids only"),
            switch("size", "s", "Show sizes"),
        ),
        max_args=0,
    ),
    "top": Command("top CONTAINER [PS-OPTION...]", top, min_args=1, flags_first=True, completions=("running", "none")),
}
