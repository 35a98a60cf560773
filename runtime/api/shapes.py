"""Docker's JSON of containers: inspect, and the rows of a list.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from netd.api import EndpointSettings, PortBinding, SandboxSettings
from netd.common.http.web import Version
from netd.common.ids import ZERO_TIME
from runtime.api import versions
from runtime.container_config import HostConfig, RestartPolicy, str_list
from runtime.engine.containers.health_state import Health
from runtime.engine.options import networking, port_bindings, security
from runtime.engine.options.runtime_spec import DEFAULT_SHM_SIZE
from runtime.engine.views.status import status_column
from runtime.images.reference import Reference
from runtime.kernel.host_support import MASKED_PATHS, READ_ONLY_PATHS
from runtime.paths import Paths
from runtime.record import ContainerRecord, MountPoint
from runtime.storage.drivers import RootDriver

_EXACT_ALIASES = (1, 45)
"""Below this API version, the aliases include the short id."""


def inspect(
    record: ContainerRecord,
    paths: Paths,
    execs: list[str],
    health: Health | None,
    version: Version,
    *,
    driver: RootDriver,
) -> dict[str, Any]:
    """Return the response to ``GET /containers/{id}/json``; *driver* is the storage driver of the container."""
    own = paths.container(record.id)
    argv = record.argv
    started = record.state.started_at != ZERO_TIME
    return {
        "Id": record.id,
        "Created": record.created,
        "Path": argv[0] if argv else "",
        "Args": argv[1:],
        "State": state(record, health),
        "Image": record.image,
        "ResolvConfPath": str(own.resolv_conf) if started else "",
        "HostnamePath": str(own.hostname) if started else "",
        "HostsPath": str(own.hosts) if started else "",
        "LogPath": str(own.log) if started and record.host.log_config.type != "none" else "",
        "Name": f"/{record.name}",
        "RestartCount": record.restarts,
        "Driver": driver.name,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": security.apparmor_profile(record.host),
        "ExecIDs": execs or None,
        "HostConfig": host_config(record.host, version),
        "GraphDriver": {"Name": driver.name, "Data": driver.graph(own, paths.layer_folders(record.layers))},
        "Mounts": [mount(point) for point in record.mounts],
        "Config": config(record, version),
        "NetworkSettings": network_settings(record, version),
    }


def state(record: ContainerRecord, health: Health | None) -> dict[str, Any]:
    current = record.state
    shape = {
        "Status": current.status,
        "Running": current.counts_as_running,
        "Paused": current.status == "paused",
        "Restarting": current.status == "restarting",
        "OOMKilled": current.oom_killed,
        "Dead": False,
        "Pid": current.pid,
        "ExitCode": current.exit_code,
        "Error": current.error,
        "StartedAt": current.started_at,
        "FinishedAt": current.finished_at,
    }
    return shape if health is None else {**shape, "Health": _health(health)}


def _health(health: Health) -> dict[str, Any]:
    log = [
        {"Start": result.start, "End": result.end, "ExitCode": result.code, "Output": result.output}
        for result in health.results
    ]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": log}


def config(record: ContainerRecord, version: Version) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(record.config)
    shape["Cmd"], shape["Entrypoint"] = str_list(record.config.cmd), str_list(record.config.entrypoint)
    shape["Env"] = record.config.env or None
    shape["Labels"] = record.config.labels or {}
    for name in ("ExposedPorts", "StopSignal", "Shell", "NetworkDisabled", "MacAddress"):
        if not shape[name]:
            del shape[name]
    if version >= versions.USAGE_SINCE and not shape["OnBuild"]:
        del shape["OnBuild"]
    for name in ("Healthcheck", "StopTimeout"):
        if shape[name] is None:
            del shape[name]
    for key in ("ExposedPorts", "Volumes"):
        if shape.get(key):
            shape[key] = {
                name: {} for name in (port_bindings.single_ports(shape[key]) if key == "ExposedPorts" else shape[key])
            }
    return shape


def host_config(host: HostConfig, version: Version) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(
            host,
            port_bindings=host.port_bindings and port_bindings.without_ranges(host.port_bindings),
            restart_policy=RestartPolicy(host.restart_policy.name or "no", host.restart_policy.maximum_retry_count),
            ipc_mode=host.ipc_mode or "private",
            shm_size=host.shm_size or DEFAULT_SHM_SIZE,
            runtime=host.runtime or "runc",
        )
    )
    shape["LogConfig"] = {"Type": host.log_config.type or "json-file", "Config": host.log_config.config or {}}
    shape["ConsoleSize"] = shape["ConsoleSize"] or [0, 0]
    if not host.privileged:
        shape["MaskedPaths"] = list(MASKED_PATHS) if host.masked_paths is None else host.masked_paths
        shape["ReadonlyPaths"] = list(READ_ONLY_PATHS) if host.readonly_paths is None else host.readonly_paths
    for name in ("Mounts", "Tmpfs", "Sysctls", "StorageOpt", "Annotations", "Init", "Umask"):
        if shape[name] is None:
            del shape[name]
    for name in ("KernelMemory", "KernelMemoryTCP"):
        if not shape[name]:
            del shape[name]
    return shape


def mount(point: MountPoint) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(point)
    del shape["Options"]
    for name in ("Name", "Driver"):
        if not shape[name]:
            del shape[name]
    return shape


# Networks


def network_settings(record: ContainerRecord, version: Version) -> dict[str, Any]:
    running = record.network or SandboxSettings()
    networks = endpoints(record)
    shape: dict[str, Any] = {
        "SandboxID": running.sandbox_id,
        "SandboxKey": running.sandbox_key,
        "Ports": ports(running.ports) if record.network else {},
        "Networks": {name: endpoint(settings, record, version) for name, settings in networks.items()},
    }
    if version < versions.USAGE_SINCE:
        shape |= _LEGACY_SETTINGS | _default_network_fields(networks.get("bridge"))
    return shape


_LEGACY_SETTINGS: dict[str, Any] = {
    "Bridge": "",
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
}


def ports(published: Mapping[str, list[PortBinding] | None]) -> dict[str, Any]:
    return {port: msgspec.to_builtins(bindings) if bindings else None for port, bindings in published.items()}


def endpoints(record: ContainerRecord) -> Mapping[str, EndpointSettings]:
    """Return the current endpoints; the requested ones while the container does not run."""
    return record.network.networks if record.network else record.endpoints


def endpoint(settings: EndpointSettings, record: ContainerRecord, version: Version) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(settings)
    if version < _EXACT_ALIASES:
        shape["Aliases"] = [*(settings.aliases or ()), record.short_id]
    return shape


def _default_network_fields(bridge: EndpointSettings | None) -> dict[str, Any]:
    """Return the fields of the default network that older clients read in ``NetworkSettings`` itself."""
    settings = bridge or EndpointSettings()
    return {
        "EndpointID": settings.endpoint_id,
        "Gateway": settings.gateway,
        "GlobalIPv6Address": settings.global_ipv6_address,
        "GlobalIPv6PrefixLen": settings.global_ipv6_prefix_len,
        "IPAddress": settings.ip_address,
        "IPPrefixLen": settings.ip_prefix_len,
        "IPv6Gateway": settings.ipv6_gateway,
        "MacAddress": settings.mac_address,
    }


# Lists


def row(
    record: ContainerRecord, names: Iterable[Reference], health: Health | None, link_names: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the row of ``GET /containers/json``.

    *names* are the current names of the container's image, *link_names* those that links give to the container.
    """
    current = record.state
    health_status = health.status if health else ""
    return {
        "Id": record.id,
        "Names": [*link_names, f"/{record.name}"],
        "Image": image_name(record, names),
        "ImageID": record.image,
        "Command": command(record.argv),
        "Created": int(datetime.fromisoformat(f"{record.created[:19]}+00:00").timestamp()),
        "Ports": port_rows(record.network),
        "Labels": record.config.labels or {},
        "State": current.status,
        "Status": status_column(
            current.status, current.exit_code, current.started_at, current.finished_at, datetime.now(UTC), health_status
        ),
        "HostConfig": {
            "NetworkMode": networking.mode(record.host),
            **({"Annotations": record.host.annotations} if record.host.annotations else {}),
        },
        "NetworkSettings": {
            "Networks": {name: _row_endpoint(settings) for name, settings in endpoints(record).items()}
        },
        "Mounts": [mount(point) for point in record.mounts],
    }


def image_name(record: ContainerRecord, names: Iterable[Reference]) -> str:
    """Return the image's name in the create request, or its id if the image no longer has that name."""
    requested = record.config.image
    known = {name.short for name in names} | {name.full for name in names} | {name.short_repository for name in names}
    return requested if requested in known or record.image.startswith(requested) else record.image


def command(argv: list[str]) -> str:
    return " ".join(_quoted(word) if " " in word else word for word in argv)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def port_rows(network: SandboxSettings | None) -> list[dict[str, Any]]:
    rows = []
    for port, bindings in (network.ports if network else {}).items():
        number, _, protocol = port.partition("/")
        if not number.isdecimal():
            continue
        shape = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        if not bindings:
            rows.append(shape)
        rows += [
            {"IP": binding.host_ip, **shape, "PublicPort": int(binding.host_port)}
            for binding in bindings or ()
            if binding.host_port.isdecimal()
        ]
    return rows


def _row_endpoint(settings: EndpointSettings) -> dict[str, Any]:
    reduced = msgspec.structs.replace(settings, aliases=None, links=None, driver_opts=None, dns_names=None)
    shape: dict[str, Any] = msgspec.to_builtins(reduced)
    return shape
