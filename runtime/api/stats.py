"""Route ``stats``: the resource usage of a container, once or every second."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from netd.common import codec
from netd.common.http.web import Call, HttpRoute, Version, json, stream
from netd.common.ids import ZERO_TIME
from runtime.api import versions
from runtime.api.long_requests import LongRequests
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.views import usage
from runtime.engine.views.usage import Usage

_SECOND = 1.0
_OS_TYPE_SINCE = versions.USAGE_SINCE
_BLOCK_FIELDS = ("io_service_bytes_recursive", "io_serviced_recursive")
_UNUSED_BLOCK_FIELDS = (
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)
_NOT_RUNNING = Usage(sampled_at=0)


class StatsRoutes:
    def __init__(self, containers: Containers, long_requests: LongRequests) -> None:
        self._containers = containers
        self._long_requests = long_requests

    def routes(self) -> Sequence[HttpRoute]:
        return [HttpRoute("GET", "/containers/{name:path}/stats", self.stats)]

    async def stats(self, call: Call) -> web.StreamResponse:
        container = self._containers.find(call.params["name"])
        if call.flag("stream", default=True):
            return await self._stream_samples(call, container)
        before = await _sample(container)
        if call.flag("one-shot") or before is _NOT_RUNNING:
            return json(_shape(container, before, _NOT_RUNNING, call.version))
        await asyncio.sleep(_SECOND)
        return json(_shape(container, await _sample(container), before, call.version))

    async def _stream_samples(self, call: Call, container: Container) -> web.StreamResponse:
        response = await stream(call, {"Content-Type": "application/json"})
        before = _NOT_RUNNING
        with suppress(ConnectionError), self._long_requests.session(call):
            while self._containers.get(container.id) is container:
                now = await _sample(container)
                await response.write(codec.encode(_shape(container, now, before, call.version)) + b"\n")
                before = now
                await asyncio.sleep(_SECOND)
        return response


async def _sample(container: Container) -> Usage:
    """Return the usage of a running container, an empty sample for others."""
    running = container.running
    if running is None:
        return _NOT_RUNNING
    try:
        return await asyncio.to_thread(usage.sample, running.pid)
    except OSError:
        return _NOT_RUNNING


def _shape(container: Container, now: Usage, before: Usage, version: Version) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "read": _time(now),
        "preread": _time(before),
        "name": f"/{container.record.name}",
        "id": container.id,
        "num_procs": 0,
        "pids_stats": {"current": now.processes} if now.processes else {},
        "blkio_stats": _block(now),
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(now),
    }
    if version >= _OS_TYPE_SINCE:
        shape["os_type"] = "linux"
    if now.networks:
        shape["networks"] = now.networks
    return shape


def _time(sample: Usage) -> str:
    if not sample.sampled_at:
        return ZERO_TIME
    seconds, rest = divmod(sample.sampled_at, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _cpu(sample: Usage) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": sample.cpu.total,
            "usage_in_kernelmode": sample.cpu.kernel,
            "usage_in_usermode": sample.cpu.user,
            **({"percpu_usage": sample.cpu.by_cpu} if sample.cpu.by_cpu else {}),
        },
        "throttling_data": {
            "periods": sample.cpu.periods,
            "throttled_periods": sample.cpu.throttled,
            "throttled_time": sample.cpu.throttled_time,
        },
    }
    if sample.sampled_at:
        shape.update({"system_cpu_usage": sample.host_cpu, "online_cpus": os.cpu_count() or 1})
    return shape


def _memory(sample: Usage) -> dict[str, Any]:
    if not sample.sampled_at:
        return {}
    most = {"max_usage": sample.memory.most_used} if sample.memory.most_used else {}
    return {"usage": sample.memory.used, **most, "limit": sample.memory.limit, "stats": sample.memory.details}


def _block(sample: Usage) -> dict[str, Any]:
    """Return Docker's fields of block devices; those that no kernel fills any more are empty."""
    if not sample.sampled_at:
        return dict.fromkeys((*_BLOCK_FIELDS, *_UNUSED_BLOCK_FIELDS))
    counts = (sample.block_bytes, sample.block_operations)
    return {
        **{name: [_count(*count) for count in found] for name, found in zip(_BLOCK_FIELDS, counts, strict=True)},
        **{name: [] for name in _UNUSED_BLOCK_FIELDS},
    }


def _count(major: int, minor: int, operation: str, value: int) -> dict[str, Any]:
    return {"major": major, "minor": minor, "op": operation, "value": value}
