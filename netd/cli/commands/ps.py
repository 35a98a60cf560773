"""``ps`` and ``top``: what containers there are, what runs in them."""

from __future__ import annotations

import sys

from netd.cli.output.columns import cut, short, table
from netd.cli.parse.common_flags import filters, wants_json
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import dump, say

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
    found = session.engine.get("/containers/json", query)
    whole = options.on("no-trunc")
    if wants_json(options):
        dump(found)
    elif options.on("quiet"):
        for container in found:
            say(container["Id"] if whole else short(container["Id"]))
    else:
        _print(found, whole, options.on("size"))
    return 0


def top(session: Session, options: Options) -> int:
    name, *arguments = options.args
    found = session.engine.get(f"/containers/{name}/top", (("ps_args", " ".join(arguments)),))
    sys.stdout.write(table(found["Titles"], found["Processes"] or ()))
    return 0


def ports(entries: list[Json]) -> str:
    """Return what a container publishes as one cell; neighbouring ports that lead to neighbours are one range."""
    runs: list[list[Json]] = []
    for entry in sorted(entries, key=_entry_order):
        if runs and _continues(runs[-1][-1], entry):
            runs[-1].append(entry)
        else:
            runs.append([entry])
    runs.sort(key=lambda run: (run[0]["PrivatePort"], run[0]["Type"], run[0].get("IP") or ""))
    return ", ".join(_run(run[0], run[-1]) for run in runs)


def _print(found: list[Json], whole: bool, sized: bool) -> None:
    from netd.cli.output.human import ago

    head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    rows = [
        [
            container["Id"] if whole else short(container["Id"]),
            container["Image"] if whole else short_image(container["Image"]),
            _quoted(container["Command"], whole),
            ago(container["Created"]),
            container["Status"],
            ports(container["Ports"] or []),
            ",".join(_own_names(container["Names"] or [])),
        ]
        for container in found
    ]
    if sized:
        head.append("SIZE")
        for row, container in zip(rows, found, strict=True):
            row.append(_sizes(container))
    sys.stdout.write(table(head, rows))


def short_image(image: str) -> str:
    return short(image) if image.startswith("sha256:") else image


def _quoted(command: str, whole: bool) -> str:
    shown = command.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown if whole else cut(shown, _COMMAND_LENGTH)}"'


def _own_names(names: list[str]) -> list[str]:
    """Leave out the names that others have for a container by links."""
    return [name[1:] for name in names if "/" not in name[1:]]


def _sizes(container: Json) -> str:
    from netd.cli.output.human import size

    own = size(container.get("SizeRw") or 0)
    virtual = container.get("SizeRootFs") or 0
    return f"{own} (virtual {size(virtual)})" if virtual else own


def _entry_order(entry: Json) -> tuple[Any, ...]:
    return (entry["Type"], entry.get("IP") or "", entry["PrivatePort"], entry.get("PublicPort") or 0)


def _continues(last: Json, entry: Json) -> bool:
    same = all((last.get(key) or "") == (entry.get(key) or "") for key in ("Type", "IP"))
    public = entry.get("PublicPort")
    step = public - (last.get("PublicPort") or 0) if public else 1 - (last.get("PublicPort") or 0)
    return same and bool(entry["PrivatePort"] - last["PrivatePort"] == 1 == step)


def _run(first: Json, last: Json) -> str:
    private = _span(first["PrivatePort"], last["PrivatePort"])
    if not first.get("PublicPort"):
        return f"{private}/{first['Type']}"
    public = _span(first["PublicPort"], last["PublicPort"])
    return f"{joined(first.get('IP') or '', public)}->{private}/{first['Type']}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def joined(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


COMMANDS = {
    "ps": Command(
        "ps [FLAGS]",
        ps,
        (
            switch("all", "a", "Show those that do not run as well"),
            many("filter", "f", "KEY=VALUE", "Show only what fits: name, id, label, status, network, publish …"),
            text("format", "", "json|table", "How to print", values="words:json table"),
            text("last", "n", "NUMBER", "Show the last ones created, running or not"),
            switch("latest", "l", "Show the last one created"),
            switch("no-trunc", "", "Print everything in full"),
            switch("quiet", "q", "Print ids only"),
            switch("size", "s", "Show sizes"),
        ),
        most=0,
    ),
    "top": Command("top CONTAINER [PS-OPTION...]", top, least=1, flags_first=True, offers=("running", "none")),
}
