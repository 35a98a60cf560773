"""Runs the health checks of containers, each as an exec, and records the results."""

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
_MAX_OUTPUT_READ = 1 << 16


class HealthChecks:
    def __init__(self, containers: Containers, supervisor: Supervisor) -> None:
        self._containers = containers
        self._supervisor = supervisor

    def prepare(self, container: Container) -> bool:
        """Reset the container's health at a start; return whether it has health checks, which ``run`` makes."""
        has_checks = health_state.plan(container.record.config) is not None
        container.health = Health() if has_checks else None
        return has_checks

    async def run(self, container: Container, running: Running) -> None:
        """Run health checks until the process exits."""
        plan = health_state.plan(container.record.config)
        if plan is None:
            return
        container.health = Health()
        started = time.monotonic()
        exited = start_awaited(running.wait())
        try:
            while not await _within(exited, plan.delay(container.health, time.monotonic() - started)):
                if container.record.state.status == "running":
                    result = await self._check(container, running, plan)
                    age = time.monotonic() - started
                    self._update(container, health_state.after_check(container.health, result, plan, age))
        finally:
            exited.cancel()

    def _update(self, container: Container, health: Health) -> None:
        before, container.health = container.health, health
        if before is not None and before.status != health.status:
            self._containers.publish_event(container, f"health_status: {health.status}")

    async def _check(self, container: Container, running: Running, plan: HealthcheckPlan) -> Result:
        start = now()
        spec = process.exec_process(container.record, ExecConfig(cmd=plan.argv), container.record.config.hostname)
        try:
            probe = await self._supervisor.exec(container.id, running.pid, spec, new_id())
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
            if len(output) < _MAX_OUTPUT_READ:
                output += data


async def _within(exited: asyncio.Future[ExitStatus], seconds: float) -> bool:
    done, _ = await asyncio.wait((exited,), timeout=seconds)
    return bool(done)
