"""Changes resource limits and the restart policy of a container, also while it runs.

Limits apply to the running container at once, and to all later starts.  If the kernel refuses a limit, everything stays
as it was.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

from netd.common.errors import Conflict, Problem, ServerError
from runtime.container_config import HostConfig
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle import exits
from runtime.engine.options import resources, restart_policy
from runtime.engine.options.updates import UpdateRequest, merged
from runtime.kernel.host_support import host_support
from runtime.shim_client.supervisor import Supervisor
from runtime.spec import Limits

_RESET: dict[str, Any] = {"pids": -1, "cpu_quota": -1, "memory_reservation": -1}
"""The values that remove a limit from a running container."""


class Updater:
    def __init__(self, containers: Containers, supervisor: Supervisor) -> None:
        self._containers = containers
        self._supervisor = supervisor

    async def update(self, container: Container, request: UpdateRequest) -> list[str]:
        """Apply *request*, and return warnings.  Raises BadRequest, and Conflict with Docker's messages."""
        support, cpus = host_support(), os.cpu_count() or 1
        wanted, warnings = resources.adjusted_update(request.host_config(), support)
        resources.limits(wanted, cpus, support.memory_nodes, update=True)
        restart_policy.check(wanted)
        async with container.hold():
            before = container.record.host
            try:
                after = merged(before, wanted)
                old = resources.limits(before, cpus, support.memory_nodes, update=True)
                new = resources.limits(after, cpus, support.memory_nodes, update=True)
            except Problem as problem:
                raise Conflict(f"Cannot update container {container.id}: {problem.message}") from None
            await self._containers.update(container, host=after)
            await self._apply(container, before, changes(old, new), old)
            self._containers.publish_event(container, "update")
        return [*warnings, *request.ignored()]

    async def _apply(self, container: Container, before: HostConfig, wanted: Limits, old: Limits) -> None:
        """Apply the limits to the running container; if that fails, restore limits and record."""
        if container.running is None or wanted == Limits():
            return
        try:
            await self._supervisor.limit(container.id, wanted)
        except OSError as error:
            if exits.is_gone(error) and await exits.ends(container.running):
                return  # The new limits apply to the next start.
            await self._containers.update(container, host=before)
            try:
                await self._supervisor.limit(container.id, old)
            except OSError as failure:
                raise ServerError(
                    f"Cannot update container {container.id}: {error}; its former limits could not be restored:"
                    f" {failure}"
                ) from None
            raise Conflict(f"Cannot update container {container.id}: {error}") from None


def changes(old: Limits, new: Limits) -> Limits:
    """Return the limits of *new* that differ from *old*; those that *new* lacks have the value that removes them.

    Memory and memory with swap stay together, because version 2 computes one from the other.
    """
    names = {field.name for field in fields(Limits) if getattr(old, field.name) != getattr(new, field.name)}
    if names & {"memory", "memory_swap"}:
        names |= {"memory", "memory_swap"}
    if names & {"cpu_period", "cpu_quota"}:
        names |= {"cpu_period", "cpu_quota"}
    chosen: dict[str, Any] = {}
    for name in names:
        value = getattr(new, name)
        chosen[name] = _RESET.get(name) if value is None else value
    if "blkio_devices" in names:
        kept = {device[:2] for device in new.blkio_devices}
        removed = tuple((kind, path, 0) for kind, path, _ in old.blkio_devices if (kind, path) not in kept)
        chosen["blkio_devices"] = (*removed, *new.blkio_devices)
    return replace(Limits(), **chosen)
