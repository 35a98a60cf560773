"""``version`` and ``info``."""

from __future__ import annotations

from netd.cli.errors import Unreachable
from netd.cli.parse.common_flags import wants_json
from netd.cli.parse.flags import Command, text
from netd.cli.session import print_json, print_line, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_INFO = (
    ("Name", "Name"),
    ("Server Version", "ServerVersion"),
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Root Dir", "DockerRootDir"),
)


def version(session: Session, options: Options) -> int:
    """Print the versions of netctl and the daemons; the exit code is 1 if no daemon answers."""
    found: Json = {"Client": {"Version": own_version()}, "Server": None}
    missing = None
    try:
        found["Server"] = session.networks.get("/version")
    except Unreachable as fault:
        missing = fault
    if wants_json(options):
        print_json(found)
    else:
        print_line(f"netctl {found['Client']['Version']}")
        _print_server(found["Server"])
    if missing:
        warn(missing.message)
    return 1 if missing else 0


def info(session: Session, options: Options) -> int:
    found = session.engine.get("/info")
    if wants_json(options):
        print_json(found)
        return 0
    for label, key in _INFO:
        if found.get(key) not in (None, ""):
            print_line(f"{label}: {found[key]}")
    plugins = found.get("Plugins") or {}
    for kind in ("Network", "Volume"):
        print_line(f"{kind} Drivers: {' '.join(plugins.get(kind) or ())}")
    if found.get("MemTotal"):
        from netd.cli.output.human import binary_size

        print_line(f"Total Memory: {binary_size(found['MemTotal'])}")
    if firewall := (found.get("FirewallBackend") or {}).get("Driver"):
        print_line(f"Firewall: {firewall}")
    for warning in found.get("Warnings") or ():
        warn(warning)
    return 0


def own_version() -> str:
    """Return the version of the installed package, or "unknown" when netctl runs from a source tree."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("netd")
    except PackageNotFoundError:
        return "unknown"


def _print_server(found: Json | None) -> None:
    if found is None:
        return
    for part in found.get("Components") or [{"Name": "Engine", "Version": found["Version"]}]:
        print_line(f"{part['Name']} {part['Version']}")
    print_line(f"API {found['ApiVersion']} (from {found['MinAPIVersion']})")
    print_line(f"{found['Os']}/{found['Arch']}, kernel {found['KernelVersion']}")


_FORMAT = text("format", "f", "json|table", "Output format", values="words:json table")

COMMANDS = {
    "version": Command("version [FLAGS]", version, (_FORMAT,), max_args=0),
    "info": Command("info [FLAGS]", info, (_FORMAT,), max_args=0),
}
