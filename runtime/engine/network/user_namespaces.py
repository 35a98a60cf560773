"""Which containers have a user namespace, with which of the host's ids, and how it is made for each start.

The ids are chosen when a container is created, kept in its record, and free again when that is gone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from netd.common.config import Settings
from netd.common.errors import BadRequest, Conflict
from runtime import frames
from runtime.container_config import HostConfig
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options import id_ranges, networking
from runtime.init import idmapped_mounts
from runtime.kernel import linux
from runtime.paths import Paths
from runtime.record import IdRange
from runtime.shim_client.supervisor import Supervisor

_FILE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """Paths at which others find the namespaces of a container that is being started; empty without any."""

    user: str = ""
    network: str = ""


class UserNamespaces:
    def __init__(self, settings: Settings, containers: Containers, supervisor: Supervisor, paths: Paths) -> None:
        self._settings = settings
        self._containers = containers
        self._supervisor = supervisor
        self._paths = paths
        self._pool: IdRange | None = None
        self._promised: dict[str, IdRange] = {}

    async def open(self) -> None:
        """Find the ids where the configuration asks for them.  Raises BadRequest when containers cannot have any."""
        if self._settings.userns != "none":
            await self._ready()

    @asynccontextmanager
    async def assigned(self, identifier: str, host: HostConfig) -> AsyncIterator[IdRange | None]:
        """Yield the ids of a container that is being created; they are its own once it is recorded."""
        donors = [self._containers.find(name) for name in _donors(host)]
        found = inherited(
            self._wanted(host), host.userns_mode, [(one.record.name, one.record.userns) for one in donors]
        )
        if not donors and self._wanted(host) != "none":
            pool = await self._ready()
            found = self._promised[identifier] = self._choose(pool, self._wanted(host))
        if found is not None:
            check(host)
        try:
            yield found
        finally:
            self._promised.pop(identifier, None)

    @asynccontextmanager
    async def held(self, container: Container) -> AsyncIterator[Held]:
        """Make the namespaces for a start, and keep them until the container does.  Raises StartError."""
        ids = container.record.userns
        if ids is None:
            yield Held()
            return
        network = networking.owns_network(container.record.host)
        made = await self._supervisor.namespaces(ids.first, ids.count, self._donated(container), network=network)
        try:
            yield Held(*(f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in made))
        finally:
            frames.close_all(made)

    def _wanted(self, host: HostConfig) -> str:
        return "none" if host.userns_mode == "host" else host.userns_mode or self._settings.userns

    def _choose(self, pool: IdRange, wanted: str) -> IdRange:
        taken = [container.record.userns for container in self._containers.all() if container.record.userns is not None]
        taken += self._promised.values()
        if wanted == "remap":
            return id_ranges.shared(pool, taken)
        if self._settings.userns == "remap":
            taken.append(id_ranges.shared(pool, ()))
        return id_ranges.lowest_free(pool, taken)

    def _donated(self, container: Container) -> str:
        """Return the path of the user namespace of those whose namespaces the container joins; empty for its own."""
        running = [one.running for name in _donors(container.record.host) if (one := self._containers.get(name))]
        paths = [f"/proc/{one.pid}/ns/user" for one in running if one is not None]
        if len({os.stat(path).st_ino for path in paths}) > 1:
            raise Conflict(
                f"container {container.record.name} cannot join containers with different user namespaces:"
                " join only one"
            )
        return paths[0] if paths else ""

    async def _ready(self) -> IdRange:
        """Return the pool; before the first use, see whether the state's file system allows for user namespaces."""
        if self._pool is None:
            pool = await asyncio.to_thread(_read_pool, self._settings.userns_range)
            made = await self._supervisor.namespaces(pool.first, id_ranges.PIECE, "", network=False)
            try:
                await asyncio.to_thread(_probe, made[0], str(self._paths.state))
            finally:
                frames.close_all(made)
            self._pool = pool
        return self._pool


def check(host: HostConfig) -> None:
    """Raise BadRequest, in Docker's words, for what a user namespace of its own excludes.  Pure."""
    if host.privileged:
        raise BadRequest(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace"
            " when running privileged mode"
        )
    if networking.mode(host) == "host":
        raise BadRequest("cannot share the host's network namespace when user namespaces are enabled")
    if host.pid_mode == "host":
        raise BadRequest("cannot share the host PID namespace when user namespaces are enabled")
    if host.ipc_mode == "host":
        raise BadRequest("cannot share the host IPC namespace when user namespaces are enabled")


def inherited(wanted: str, mode: str, donors: Sequence[tuple[str, IdRange | None]]) -> IdRange | None:
    """Return the ids of those whose namespaces a container joins: it can only have the same.  Pure.

    Raises BadRequest where that would be none, though a user namespace is *wanted*, or where they differ.
    """
    for name, ids in donors:
        if ids != donors[0][1]:
            raise BadRequest(
                f"cannot join namespaces of {donors[0][0]} and {name} at once: their user namespaces have different ids"
            )
        if (ids is None) != (wanted == "none") and (ids is None or mode == "host"):
            kind = "no user namespace" if ids is None else "a user namespace"
            remedy = "use --userns host" if ids is None else "leave --userns host out"
            raise BadRequest(f"cannot join namespaces of container {name}, which has {kind}: {remedy}")
    return donors[0][1] if donors else None


def _donors(host: HostConfig) -> Iterable[str]:
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    return [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]


def _read_pool(setting: str) -> IdRange:
    if setting:
        return id_ranges.parse(setting, "userns_range")
    return id_ranges.subordinate(_read(Path("/etc/subuid")), _read(Path("/etc/subgid")))


def _read(path: Path) -> str:
    """Return the beginning of a small file; nothing when it is not there."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise BadRequest(f"cannot read {path}: {problem.strerror}: {id_ranges.REMEDY}") from None


def _probe(user_namespace: int, path: str) -> None:
    tree = linux.open_tree(linux.AT_FDCWD, path, recursive=False)
    try:
        idmapped_mounts.shift(tree, user_namespace, path)
    except idmapped_mounts.CannotShift as problem:
        raise BadRequest(f"user namespaces cannot be used: {problem}") from None
    finally:
        os.close(tree)
