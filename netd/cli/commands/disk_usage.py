"""``system df``: what images, containers, volumes and the build cache take on disk."""

from __future__ import annotations

import sys

from netd.cli.output.columns import short_id, table
from netd.cli.output.human import ago, seconds_of, size
from netd.cli.parse.common_flags import list_format, show_document, show_list
from netd.cli.parse.flags import Command, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_DIGITS = 4
_PATH = "/v1.51/system/df"
"""Later versions of the API have totals instead of lists."""
_HEADERS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"
}  # fmt: skip


def usage(session: Session, options: Options) -> int:
    found = session.engine.get(_PATH)
    if options.on("verbose"):
        if not show_document(options, _texts(_rows(found, True))):
            sys.stdout.write(_details(found))
        return 0
    rows = [_images(found), _containers(found), _volumes(found), _build_cache(found)]
    return show_list(options, _HEADERS, list(_HEADERS), rows, "Type")


def _row(kind: str, total: int, active: int, bytes_: int, reclaimable: int, *, percent: bool = True) -> Row:
    share = f" ({reclaimable * 100 // bytes_}%)" if percent and bytes_ > 0 else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": size(bytes_, _DIGITS),
        "Reclaimable": f"{size(reclaimable, _DIGITS)}{share}",
    }


def _images(found: Json) -> Row:
    images, total = found["Images"] or [], found.get("LayersSize") or 0
    used = [image for image in images if image["Containers"] > 0]
    unique = sum(image["Size"] - image["SharedSize"] for image in used if image["SharedSize"] >= 0)
    return _row("Images", len(images), len(used), total, total - unique)


def _containers(found: Json) -> Row:
    containers = found["Containers"] or []
    active = [entry for entry in containers if entry["State"] in ("running", "paused", "restarting")]
    total = sum(entry.get("SizeRw", 0) for entry in containers)
    return _row("Containers", len(containers), len(active), total, total - sum(e.get("SizeRw", 0) for e in active))


def _volumes(found: Json) -> Row:
    volumes = [volume["UsageData"] for volume in found["Volumes"] or ()]
    total = sum(max(volume["Size"], 0) for volume in volumes)
    free = sum(max(volume["Size"], 0) for volume in volumes if not volume["RefCount"])
    return _row("Local Volumes", len(volumes), sum(volume["RefCount"] > 0 for volume in volumes), total, free)


def _build_cache(found: Json) -> Row:
    entries = found.get("BuildCache") or []
    total = sum(entry["Size"] for entry in entries if not entry["Shared"])
    free = sum(entry["Size"] for entry in entries if not entry["Shared"] and not entry["InUse"])
    return _row("Build Cache", len(entries), sum(bool(e["InUse"]) for e in entries), total, free, percent=False)


# Details

_IMAGES = {
    "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
    "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
}  # fmt: skip
_CONTAINERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
    "RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES",
}  # fmt: skip
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_CACHE = {
    "ID": "CACHE ID", "Type": "CACHE TYPE", "Size": "SIZE", "Created": "CREATED", "LastUsed": "LAST USED",
    "Usage": "USAGE", "Shared": "SHARED",
}  # fmt: skip


def _rows(found: Json, full: bool) -> dict[str, list[Row]]:
    """Return the rows of each kind of object; *full* shows ids and commands in full."""
    from netd.cli.commands.image import image_rows
    from netd.cli.commands.ps import container_row

    return {
        "Images": [row for image in found["Images"] or () for row in image_rows(image, full, digests=False)],
        "Containers": [
            {**container_row(entry, full), "Size": size(entry.get("SizeRw", 0))} for entry in found["Containers"] or ()
        ],
        "Volumes": [
            {
                **{name: str(volume.get(name) or "") for name in ("Name", "Driver", "Mountpoint", "Scope")},
                "Links": str(usage_["RefCount"]),
                "Size": size(usage_["Size"]),
            }
            for volume in found["Volumes"] or ()
            if (usage_ := volume["UsageData"])
        ],
        "BuildCache": [_cache_row(entry, full) for entry in found.get("BuildCache") or ()],
    }


def _texts(rows: dict[str, list[Row]]) -> dict[str, list[dict[str, str]]]:
    """Return the rows without the functions that templates of lists may call."""
    return {
        kind: [{name: text for name, text in row.items() if isinstance(text, str)} for row in found]
        for kind, found in rows.items()
    }


def _details(found: Json) -> str:
    rows = _rows(found, False)
    return (
        f"Images space usage:\n\n{_table(_IMAGES, rows['Images'])}"
        f"\nContainers space usage:\n\n{_table(_CONTAINERS, rows['Containers'])}"
        f"\nLocal Volumes space usage:\n\n{_table(_VOLUMES, rows['Volumes'])}"
        f"\nBuild cache usage: {_build_cache(found)['Size']}\n\n{_table(_CACHE, rows['BuildCache'])}"
    )


def _cache_row(entry: Json, full: bool) -> Row:
    used = entry.get("LastUsedAt")
    return {
        "ID": entry["ID"] if full else short_id(entry["ID"]),
        "Type": entry["Type"],
        "Size": size(entry["Size"]),
        "Created": ago(seconds_of(entry["CreatedAt"])),
        "LastUsed": ago(seconds_of(used)) if used else "",
        "Usage": str(entry["UsageCount"]),
        "Shared": str(bool(entry["Shared"])).lower(),
    }


def _table(columns: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return a table; *columns* maps fields to titles."""
    return table([*columns.values()], [[str(row[field]) for field in columns] for row in rows])


COMMANDS = {
    "system df": Command(
        "system df [FLAGS]",
        usage,
        (list_format(), switch("verbose", "v", "List every image, container, volume and build step")),
        max_args=0,
    ),
}
