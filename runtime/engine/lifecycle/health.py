"""Runs the health checks of containers, each as an exec, and keeps what they told."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from netd.common.ids import new_id, now
from netd.common.tasks import start_awaited
from runtime.engine.containers import health_state
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.health_state import Health, HealthcheckPlan, Result
from runtime.engine.options import process
from runtime.record import ExecConfig
from runtime.shim_client.supervisor import Attachment, Running, Supervisor
from runtime.spec import ExitStatus, StartError, StreamLost

_KILL = 9
_READ = 1 << 16


class HealthChecks:
    def __init__(self, containers: Containers, supervisor: Supervisor) -> None:
        self._containers = containers
        self._supervisor = supervisor

    async def run(self, container: Container, running: Running) -> None:
        """Check the container until its process ends; returns at once when it has no health check."""
        plan = health_state.plan(container.record.config)
        if plan is None:
            container.health = None
            return
        container.health = Health()
        began = time.monotonic()
        ended = start_awaited(running.wait())
        try:
            while not await _within(ended, plan.pause(container.health, time.monotonic() - began)):
                if container.record.state.status == "running":
                    result = await self._check(container, running, plan)
                    self._take(container, health_state.judge(container.health, result, plan, time.monotonic() - began))
        finally:
            ended.cancel()

    def _take(self, container: Container, health: Health) -> None:
        before, container.health = container.health, health
        if before is not None and before.verdict != health.verdict:
            self._containers.tell(container, f"health_status: {health.verdict}")

    async def _check(self, container: Container, running: Running, plan: HealthcheckPlan) -> Result:
        start = now()
        program = process.further(container.record, ExecConfig(cmd=plan.argv), container.record.config.hostname)
        try:
            probe = await self._supervisor.exec(container.id, running.pid, program, new_id())
            try:
                streams = await probe.attach(stdin=False)
            except BaseException:
                await self._supervisor.cancel(probe)
                raise
            await self._supervisor.release(probe)
        except (StartError, OSError) as error:
            return Result(start, now(), -1, str(error))
        code, output = await self._follow(probe, streams, plan.timeout)
        return Result(start, now(), code, output.decode(errors="replace"))

    async def _follow(self, probe: Running, streams: Attachment, seconds: float) -> tuple[int, bytes]:
        output = bytearray()
        reading = start_awaited(_collect(streams, output))
        try:
            async with asyncio.timeout(seconds):
                status = await probe.wait()
                await reading
                return status.code, bytes(output)
        except TimeoutError:
            with suppress(ProcessLookupError):
                await probe.signal(_KILL)
            return -1, b"Health check exceeded timeout (%gs)" % seconds
        finally:
            reading.cancel()
            await streams.close()


async def _collect(streams: Attachment, output: bytearray) -> None:
    with suppress(StreamLost):
        async for _, data in streams:
            if len(output) < _READ:
                output += data


async def _within(ended: asyncio.Future[ExitStatus], seconds: float) -> bool:
    done, _ = await asyncio.wait((ended,), timeout=seconds)
    return bool(done)
