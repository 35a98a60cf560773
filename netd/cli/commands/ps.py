"""``ps`` and ``top``: lists containers, and processes of a container."""

from __future__ import annotations

import sys

from netd.cli.output.columns import short_id, table, truncate
from netd.cli.parse.common_flags import filters, list_format, show_list
from netd.cli.parse.filter_flags import CONTAINERS, filter_flag
from netd.cli.parse.flags import Command, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_COMMAND_LENGTH, _MOUNT_LENGTH = 20, 15
_HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


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
    rows = [container_row(container, full) for container in containers]
    return show_list(options, _HEADERS, _COLUMNS + ("Size",) * options.on("size"), rows, "ID")


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


def container_row(container: Json, full: bool) -> Row:
    from netd.cli.output.human import ago
    from netd.cli.output.list_output import labels

    names = container["Names"] or []
    mounts = container.get("Mounts") or []
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "ID": container["Id"] if full else short_id(container["Id"]),
        "Names": ",".join(name[1:] for name in names) if full else ",".join(_own_names(names)),
        "Image": container["Image"] if full else short_image(container["Image"]),
        "Command": _quoted(container["Command"], full),
        "CreatedAt": moment(container["Created"]),
        "RunningFor": ago(container["Created"]),
        "Ports": ports(container["Ports"] or []),
        "State": container["State"],
        "Status": container["Status"],
        "Size": _sizes(container),
        "Networks": ",".join(networks),
        "Mounts": ",".join(_mount(mount, full) for mount in mounts),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        **labels(container.get("Labels")),
    }


def moment(seconds: int) -> str:
    """Return a time in the format of Docker's ``CreatedAt``, in the local time zone."""
    from datetime import datetime

    local = datetime.fromtimestamp(seconds).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S %z %Z")


def _mount(mount: Json, full: bool) -> str:
    name: str = mount.get("Name") or mount.get("Source") or ""
    return name if full else truncate(name, _MOUNT_LENGTH)


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
            filter_flag(CONTAINERS),
            list_format(),
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
