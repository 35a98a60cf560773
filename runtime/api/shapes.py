"""Containers as Docker's JSON shows them: inspect, and the rows of a list.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from netd.api import EndpointSettings, PortBinding, SandboxSettings
from netd.common.http.web import Version
from netd.common.ids import ZERO_TIME
from runtime.container_config import HostConfig, RestartPolicy, words
from runtime.engine.containers.health_state import Health
from runtime.engine.options import networking, port_bindings
from runtime.engine.views.status import text
from runtime.images.reference import Reference
from runtime.paths import Paths
from runtime.record import ContainerRecord, MountPoint

_DNS_NAMES = (1, 45)


def inspect(
    record: ContainerRecord, paths: Paths, execs: list[str], health: Health | None, version: Version
) -> dict[str, Any]:
    """Return the answer to ``GET /containers/{id}/json``."""
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
        "LogPath": "" if record.host.log_config.type == "none" else str(own.log),
        "Name": f"/{record.name}",
        "RestartCount": record.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": execs or None,
        "HostConfig": host_config(record.host),
        "GraphDriver": graph_driver(record, paths),
        "Mounts": [mount(point) for point in record.mounts],
        "Config": config(record),
        "NetworkSettings": network_settings(record, version),
    }


def state(record: ContainerRecord, health: Health | None) -> dict[str, Any]:
    now = record.state
    shown = {
        "Status": now.status,
        "Running": now.counts_as_running,
        "Paused": now.status == "paused",
        "Restarting": now.status == "restarting",
        "OOMKilled": now.oom_killed,
        "Dead": False,
        "Pid": now.pid,
        "ExitCode": now.exit_code,
        "Error": now.error,
        "StartedAt": now.started_at,
        "FinishedAt": now.finished_at,
    }
    return shown if health is None else {**shown, "Health": _health(health)}


def _health(health: Health) -> dict[str, Any]:
    log = [{"Start": one.start, "End": one.end, "ExitCode": one.code, "Output": one.output} for one in health.results]
    return {"Status": health.verdict, "FailingStreak": health.streak, "Log": log}


def config(record: ContainerRecord) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(record.config)
    shown["Cmd"], shown["Entrypoint"] = words(record.config.cmd), words(record.config.entrypoint)
    shown["Env"] = record.config.env or []
    shown["Labels"] = record.config.labels or {}
    for name in ("ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout", "Shell", "NetworkDisabled", "MacAddress"):
        if not shown[name]:
            del shown[name]
    for key in ("ExposedPorts", "Volumes"):
        if shown.get(key):
            shown[key] = {
                name: {} for name in (port_bindings.each(shown[key]) if key == "ExposedPorts" else shown[key])
            }
    return shown


def host_config(host: HostConfig) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(
            host,
            port_bindings=port_bindings.shown(host.port_bindings or {}),
            restart_policy=RestartPolicy(host.restart_policy.name or "no", host.restart_policy.maximum_retry_count),
            ipc_mode=host.ipc_mode or "private",
            shm_size=host.shm_size or 64 << 20,
            runtime=host.runtime or "runc",
        )
    )
    shown["LogConfig"] = {"Type": host.log_config.type or "json-file", "Config": host.log_config.config or {}}
    shown["ConsoleSize"] = shown["ConsoleSize"] or [0, 0]
    for name in ("Mounts", "Tmpfs", "Sysctls", "StorageOpt", "Annotations", "Init"):
        if shown[name] is None:
            del shown[name]
    return shown


def graph_driver(record: ContainerRecord, paths: Paths) -> dict[str, Any]:
    own = paths.container(record.id)
    return {
        "Name": "overlay2",
        "Data": {
            "ID": record.id,
            "LowerDir": ":".join(str(paths.layer(chain)) for chain in record.layers),
            "UpperDir": str(own.upper),
            "WorkDir": str(own.work),
            "MergedDir": str(own.root),
        },
    }


def mount(point: MountPoint) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(point)
    for name in ("Name", "Driver"):
        if not shown[name]:
            del shown[name]
    return shown


# Networks


def network_settings(record: ContainerRecord, version: Version) -> dict[str, Any]:
    running = record.network or SandboxSettings()
    shown: dict[str, Any] = {
        "Bridge": "",
        "SandboxID": running.sandbox_id,
        "SandboxKey": running.sandbox_key,
        "Ports": ports(running.ports) if record.network else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
    }
    networks = endpoints(record)
    shown.update(_flat(networks.get("bridge")))
    shown["Networks"] = {name: endpoint(one, record, version) for name, one in networks.items()}
    return shown


def ports(given: Mapping[str, list[PortBinding] | None]) -> dict[str, Any]:
    return {port: msgspec.to_builtins(one) if one else None for port, one in given.items()}


def endpoints(record: ContainerRecord) -> Mapping[str, EndpointSettings]:
    """Return the endpoints as they are now, or as they will be asked for."""
    return record.network.networks if record.network else record.endpoints


def endpoint(one: EndpointSettings, record: ContainerRecord, version: Version) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(one)
    if version < _DNS_NAMES:
        del shown["DNSNames"]
        shown["Aliases"] = [*(one.aliases or ()), record.short_id]
    return shown


def _flat(bridge: EndpointSettings | None) -> dict[str, Any]:
    """Return the copies of the default network's fields that older clients read."""
    one = bridge or EndpointSettings()
    return {
        "EndpointID": one.endpoint_id,
        "Gateway": one.gateway,
        "GlobalIPv6Address": one.global_ipv6_address,
        "GlobalIPv6PrefixLen": one.global_ipv6_prefix_len,
        "IPAddress": one.ip_address,
        "IPPrefixLen": one.ip_prefix_len,
        "IPv6Gateway": one.ipv6_gateway,
        "MacAddress": one.mac_address,
    }


# Lists


def row(record: ContainerRecord, names: Iterable[Reference], health: Health | None) -> dict[str, Any]:
    """Return the container as a row of ``GET /containers/json``; *names* are those its image has now."""
    now = record.state
    word = health.verdict if health else ""
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": shown_image(record, names),
        "ImageID": record.image,
        "Command": command(record.argv),
        "Created": int(datetime.fromisoformat(f"{record.created[:19]}+00:00").timestamp()),
        "Ports": port_rows(record.network),
        "Labels": record.config.labels or {},
        "State": now.status,
        "Status": text(now.status, now.exit_code, now.started_at, now.finished_at, datetime.now(UTC), word),
        "HostConfig": {"NetworkMode": networking.mode(record.host)},
        "NetworkSettings": {"Networks": {name: _row_endpoint(one) for name, one in endpoints(record).items()}},
        "Mounts": [mount(point) for point in record.mounts],
    }


def shown_image(record: ContainerRecord, names: Iterable[Reference]) -> str:
    """Return the name the image was asked for by, or its id when it is called something else now."""
    asked = record.config.image
    known = {name.short for name in names} | {name.full for name in names} | {name.short_repository for name in names}
    return asked if asked in known or record.image.startswith(asked) else record.image


def command(argv: list[str]) -> str:
    return " ".join(_quoted(word) if " " in word else word for word in argv)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def port_rows(network: SandboxSettings | None) -> list[dict[str, Any]]:
    rows = []
    for port, many in (network.ports if network else {}).items():
        number, _, protocol = port.partition("/")
        if not number.isdecimal():
            continue
        shown = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        if not many:
            rows.append({"IP": "", **shown})
        rows += [
            {"IP": one.host_ip, **shown, "PublicPort": int(one.host_port)}
            for one in many or ()
            if one.host_port.isdecimal()
        ]
    return rows


def _row_endpoint(one: EndpointSettings) -> dict[str, Any]:
    reduced = msgspec.structs.replace(one, aliases=None, links=None, driver_opts=None, dns_names=None)
    shown: dict[str, Any] = msgspec.to_builtins(reduced)
    return shown
