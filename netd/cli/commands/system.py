"""``version``, ``info``, ``reload`` and ``system backup``."""

from __future__ import annotations

from netd.cli.errors import Fault, Unreachable
from netd.cli.parse.common_flags import show_document
from netd.cli.parse.flags import Command, text
from netd.cli.session import print_line, warn

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
    versions: Json = {"Client": {"Version": own_version()}, "Server": None}
    unreachable = None
    try:
        server = session.networks.get("/version")
        versions["Server"] = {**server, "APIVersion": server["ApiVersion"]}
    except Unreachable as fault:
        unreachable = fault
    if not show_document(options, versions):
        print_line(f"netctl {versions['Client']['Version']}")
        _print_server(versions["Server"])
    if unreachable:
        warn(unreachable.message)
    return 1 if unreachable else 0


def reload(session: Session, _: Options) -> int:
    """Make both daemons read their configuration again; print what changed, and what needs a restart."""
    for daemon, client in (("netd", session.netd), ("netd-runtime", session.engine)):
        found = client.post("/netd/v1/reload")
        applied = ", ".join(found["applied"]) or "nothing"
        print_line(f"{daemon}: {applied} changed")
        if found["need_restart"]:
            warn(f"{daemon}: changed in the file, but needs a restart of {daemon}: {', '.join(found['need_restart'])}")
    return 0


def info(session: Session, options: Options) -> int:
    system_info = session.engine.get("/info")
    if show_document(options, system_info):
        return 0
    for label, key in _INFO:
        if system_info.get(key) not in (None, ""):
            print_line(f"{label}: {system_info[key]}")
        if key == "Driver":
            for name, value in system_info.get("DriverStatus") or ():
                print_line(f" {name}: {value}".rstrip())
    plugins = system_info.get("Plugins") or {}
    for kind in ("Network", "Volume"):
        print_line(f"{kind} Drivers: {' '.join(plugins.get(kind) or ())}")
    if system_info.get("MemTotal"):
        from netd.cli.output.human import binary_size

        print_line(f"Total Memory: {binary_size(system_info['MemTotal'])}")
    if firewall := (system_info.get("FirewallBackend") or {}).get("Driver"):
        print_line(f"Firewall: {firewall}")
    for warning in system_info.get("Warnings") or ():
        warn(warning)
    return 0


def own_version() -> str:
    """Return the version of this netctl."""
    from netd.version import VERSION

    return VERSION


def _print_server(server: Json | None) -> None:
    if server is None:
        return
    for part in server.get("Components") or [{"Name": "Engine", "Version": server["Version"]}]:
        print_line(f"{part['Name']} {part['Version']}")
    print_line(f"API {server['ApiVersion']} (from {server['MinAPIVersion']})")
    print_line(f"{server['Os']}/{server['Arch']}, kernel {server['KernelVersion']}")


_FORMAT = text("format", "f", "FORMAT", "table, json, or a template: '{{.ServerVersion}}'", values="words:json table")


def backup(session: Session, options: Options) -> int:
    """Write the archive; it is complete or absent."""
    import os

    path = options.args[0]
    stores = {
        "netd.db": session.netd.call("GET", "/netd/v1/backup").read(),
        "runtime.db": session.engine.call("GET", "/netd/v1/backup").read(),
    }
    fresh = f"{path}.{os.getpid()}"
    try:
        _write(fresh, stores)
        os.replace(fresh, path)
    except OSError as error:
        raise Fault(f"the backup cannot be written to {path}: {error.strerror}") from None
    print_line(f"{path}: {', '.join(f'{name} ({len(data)} bytes)' for name, data in stores.items())}")
    return 0


def _write(path: str, files: dict[str, bytes]) -> None:
    import io
    import os
    import tarfile

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o600
                archive.addfile(entry, io.BytesIO(data))
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        os.unlink(path)
        raise


COMMANDS = {
    "version": Command("version [FLAGS]", version, (_FORMAT,), max_args=0),
    "reload": Command("reload", reload, (), max_args=0),
    "system backup": Command("system backup FILE", backup, (), min_args=1, max_args=1),
    "info": Command("info [FLAGS]", info, (_FORMAT,), max_args=0),
}
