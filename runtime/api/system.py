"""Routes ``version``, ``info`` and ``events``."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from netd.api import NETWORK_DRIVERS
from netd.client import NetdClient
from netd.common import codec, descriptor_limit
from netd.common.daemon_status import DaemonStatus
from netd.common.errors import BadRequest, Problem
from netd.common.events import FILTERS, Bus, Event, Lagging, matches
from netd.common.http import web as front
from netd.common.http.client_connections import disconnect
from netd.common.http.web import Call, HttpRoute, Product, json, stream
from netd.common.ids import now
from netd.common.tasks import start_awaited
from runtime.api import versions
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.containers import Containers
from runtime.images import compatibility
from runtime.images.image_store import Images
from runtime.kernel.host_support import has_unified_cgroups, host_support, hostname
from runtime.paths import Paths
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.volumes import Volumes

_NO_LEGACY_FIELDS = (1, 52)
"""Below this API version, events of containers and images repeat fields under older names."""
_SEQUENCE = "application/json-seq"
"""RFC 7464: a record separator before each JSON text."""
_RECORD_SEPARATOR = b"\x1e"
_EVENT_FORMATS = {"application/jsonl": (1, 53), "application/x-ndjson": (1, 52), _SEQUENCE: (1, 52)}
_DISCONNECT_CHECK_SECONDS = 5.0
_SECCOMP = "name=seccomp,profile=builtin"


class SystemRoutes:
    def __init__(
        self,
        product: Product,
        containers: Containers,
        images: Images,
        volumes: Volumes,
        *,
        paths: Paths,
        drivers: StorageDrivers,
        bus: Bus,
        long_requests: LongRequests,
        daemon_status: DaemonStatus,
        netd: NetdClient,
        userns: bool,
        registry_config: dict[str, Any],
    ) -> None:
        self._registry_config = registry_config
        self._security = [_SECCOMP, "name=userns"] if userns else [_SECCOMP]
        self._daemon_status = daemon_status
        self._netd = netd
        self._product = product
        self._containers = containers
        self._images = images
        self._volumes = volumes
        self._paths = paths
        self._drivers = drivers
        self._bus = bus
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [
            HttpRoute("GET", "/version", self.version),
            HttpRoute("GET", "/info", self.info),
            HttpRoute("GET", "/events", self.events),
        ]

    async def version(self, _: Call) -> web.StreamResponse:
        release = platform.release()
        product = self._product
        api, oldest = front.text(product.api), front.text(product.api_minimum)
        common = {
            "Version": product.version,
            "Os": "linux",
            "Arch": compatibility.host().architecture,
            "KernelVersion": release,
        }
        details = {"ApiVersion": api, "MinAPIVersion": oldest, "Experimental": "false", **_without_version(common)}
        return json(
            {
                "Platform": {"Name": "netd-runtime"},
                "Components": [{"Name": "Engine", "Version": product.version, "Details": details}],
                **common,
                "ApiVersion": api,
                "MinAPIVersion": oldest,
                "GitCommit": "",
                "GoVersion": "",
                "BuildTime": "",
            }
        )

    async def info(self, call: Call) -> web.StreamResponse:
        states = [container.record.state.status for container in self._containers.all()]
        support = host_support()
        shape = {
            "ID": await asyncio.to_thread(_machine_id),
            "Name": hostname(),
            "ServerVersion": self._product.version,
            "Containers": len(states),
            "ContainersRunning": sum(state in ("running", "restarting") for state in states),
            "ContainersPaused": states.count("paused"),
            "ContainersStopped": sum(state in ("created", "exited") for state in states),
            "Images": len(self._images.all()),
            "DockerRootDir": str(self._paths.state),
            "SystemTime": now(),
            **_host(),
            **_CONSTANT_FIELDS,
            "Driver": self._drivers.default.name,
            "DriverStatus": await asyncio.to_thread(self._drivers.default.status),
            "RegistryConfig": self._registry_config,
            "SecurityOptions": self._security,
            "NFd": descriptor_limit.in_use()[0],
            "Warnings": [*self._daemon_status.warnings(), *await self._netd_warnings()] or None,
            "OomKillDisable": support.oom_kill_disable,
            "KernelMemoryTCP": support.kernel_memory_tcp,
            "NGoroutines": threading.active_count(),
            "NEventsListener": self._bus.listeners,
        }
        return json(versions.info(shape, call.version))

    async def _netd_warnings(self) -> list[str]:
        try:
            return (await self._netd.system()).warnings
        except Problem as problem:
            return [problem.message]

    async def events(self, call: Call) -> web.StreamResponse:
        """Stream events: first past ones from ``since`` on, then new ones until ``until``."""
        filters = call.filters(FILTERS)
        since, until = _time(call, "since"), _time(call, "until")
        if since is not None and until is not None and since > until:
            raise BadRequest(f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})")
        legacy = call.version < _NO_LEGACY_FIELDS
        kind = _event_format(call)
        prefix = _RECORD_SEPARATOR if kind == _SEQUENCE else b""
        response = await stream(call, {"Content-Type": kind})
        lagging = partial(disconnect, call.request, "it does not read the events")
        with (
            self._long_requests.session(call),
            self._bus.listen(lagging) as new_events,
            suppress(ConnectionError, Lagging),
        ):
            if since is not None or until is not None:
                for event in self._bus.past(since or 0.0, until or time.time()):
                    if matches(event, filters):
                        await response.write(prefix + _line(event, legacy))
            async with aclosing(_until_disconnected(call, new_events, until)) as events:
                async for event in events:
                    if matches(event, filters):
                        await response.write(prefix + _line(event, legacy))
        return response


_CONSTANT_FIELDS: dict[str, Any] = {
    "Plugins": {
        "Volume": ["local"],
        "Network": [*NETWORK_DRIVERS],
        "Authorization": None,
        "Log": ["json-file", "local", "none"],
    },
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
    "IPv4Forwarding": True,
    "Debug": False,
    "LoggingDriver": "json-file",
    "CgroupDriver": "cgroupfs",
    "OSType": "linux",
    "IndexServerAddress": "https://index.docker.io/v1/",
    "HttpProxy": "",
    "HttpsProxy": "",
    "NoProxy": "",
    "Labels": [],
    "ExperimentalBuild": False,
    "Runtimes": {"netd": {"path": "netd-runtime"}},
    "DefaultRuntime": "netd",
    "Swarm": {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    },
    "LiveRestoreEnabled": True,
    "Isolation": "",
    "InitBinary": "",
    "OSVersion": "",
    "GenericResources": None,
    "CDISpecDirs": [],
}


def _host() -> dict[str, Any]:
    return {
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Architecture": platform.machine(),
        "KernelVersion": platform.release(),
        "OperatingSystem": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "CgroupVersion": "2" if has_unified_cgroups() else "1",
    }


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _without_version(common: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in common.items() if key != "Version"}


async def _until_disconnected(
    call: Call, new_events: AsyncIterator[Event], until: float | None
) -> AsyncGenerator[Event, None]:
    """Yield events until *until* or until the client disconnects, which is checked every five seconds."""
    next_event = start_awaited(anext(new_events))
    try:
        while (transport := call.request.transport) is not None and not transport.is_closing():
            remaining = (
                _DISCONNECT_CHECK_SECONDS if until is None else min(_DISCONNECT_CHECK_SECONDS, until - time.time())
            )
            if remaining <= 0:
                return
            if (await asyncio.wait((next_event,), timeout=remaining))[0]:
                yield next_event.result()
                next_event = start_awaited(anext(new_events))
    finally:
        next_event.cancel()


def _event_format(call: Call) -> str:
    """Return the media type of the stream: since API version 1.52 one that the client accepts, otherwise JSON."""
    accepted = [part.partition(";")[0].strip() for part in call.request.headers.get("Accept", "").split(",")]
    offered = [kind for kind, since in _EVENT_FORMATS.items() if call.version >= since and kind in accepted]
    return offered[0] if offered else "application/json"


def _line(event: Event, legacy: bool) -> bytes:
    if not legacy:
        event = msgspec.structs.replace(event, status=None, id=None, origin=None)
    return codec.encode(event) + b"\n"


def _time(call: Call, key: str) -> float | None:
    text = call.text(key)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise BadRequest(f"{key} must be seconds since 1970, not {text!r}") from None
