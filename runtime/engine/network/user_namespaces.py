"""User namespaces of containers: allocation of host ids, and creation of the namespace for each start.

The ids are allocated when a container is created, kept in its record, and freed when the record is deleted.
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
from runtime.container_config import HostConfig, joined_container
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options import id_ranges, networking
from runtime.init import idmapped_mounts
from runtime.kernel import linux, proc
from runtime.paths import Paths
from runtime.record import IdRange
from runtime.shim_client.supervisor import Supervisor

_FILE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class NamespacePaths:
    """Paths of the namespaces of a container that is being started; empty without a user namespace."""

    user: str = ""
    network: str = ""


class UserNamespaces:
    def __init__(self, settings: Settings, containers: Containers, supervisor: Supervisor, paths: Paths) -> None:
        self._settings = settings
        self._containers = containers
        self._supervisor = supervisor
        self._paths = paths
        self._pool: IdRange | None = None
        self._reserved: dict[str, IdRange] = {}

    async def open(self) -> None:
        """Read the id pool if user namespaces are configured.  Raises BadRequest if they cannot be used."""
        if self._settings.userns != "none":
            await self._ensure_pool()

    @asynccontextmanager
    async def allocate(self, identifier: str, host: HostConfig) -> AsyncIterator[IdRange | None]:
        """Yield the ids of a container that is being created, reserved until it has a record."""
        donors = [self._containers.find(name) for name in _donors(host)]
        ids = inherited_ids(
            self._mode(host), host.userns_mode, [(donor.record.name, donor.record.userns) for donor in donors]
        )
        if not donors and self._mode(host) != "none":
            pool = await self._ensure_pool()
            ids = self._reserved[identifier] = self._choose_ids(pool, self._mode(host))
        if ids is not None:
            check(host)
        try:
            yield ids
        finally:
            self._reserved.pop(identifier, None)

    @asynccontextmanager
    async def namespaces(self, container: Container) -> AsyncIterator[NamespacePaths]:
        """Create the namespaces for a start, and keep them open until the container uses them.  Raises StartError."""
        ids = container.record.userns
        if ids is None:
            yield NamespacePaths()
            return
        network = networking.owns_network(container.record.host)
        descriptors = await self._supervisor.namespaces(
            ids.first, ids.count, self._donor_namespace(container), network=network
        )
        try:
            yield NamespacePaths(*map(proc.descriptor_path, descriptors))
        finally:
            frames.close_all(descriptors)

    def _mode(self, host: HostConfig) -> str:
        return "none" if host.userns_mode == "host" else host.userns_mode or self._settings.userns

    def _choose_ids(self, pool: IdRange, mode: str) -> IdRange:
        used = [container.record.userns for container in self._containers.all() if container.record.userns is not None]
        used += self._reserved.values()
        if mode == "remap":
            return id_ranges.shared_range(pool, used)
        if self._settings.userns == "remap":
            used.append(id_ranges.shared_range(pool, ()))
        return id_ranges.lowest_free_range(pool, used)

    def _donor_namespace(self, container: Container) -> str:
        """Return the path of the user namespace of the containers that this one joins; empty if it joins none."""
        donors = [donor for name in _donors(container.record.host) if (donor := self._containers.get(name))]
        paths = [proc.namespace_path(donor.running.pid, "user") for donor in donors if donor.running is not None]
        if len(set(map(proc.namespace_inode, paths))) > 1:
            raise Conflict(
                f"container {container.record.name} cannot join containers with different user namespaces:"
                " join only one"
            )
        return paths[0] if paths else ""

    async def _ensure_pool(self) -> IdRange:
        """Return the pool; before the first use, check that the state's file system supports idmapped mounts."""
        if self._pool is None:
            pool = await asyncio.to_thread(_read_pool, self._settings.userns_range)
            descriptors = await self._supervisor.namespaces(pool.first, id_ranges.RANGE_SIZE, "", network=False)
            try:
                await asyncio.to_thread(_check_idmapped_mounts, descriptors[0], str(self._paths.state))
            finally:
                frames.close_all(descriptors)
            self._pool = pool
        return self._pool


def check(host: HostConfig) -> None:
    """Raise BadRequest, with Docker's messages, for options that conflict with a user namespace.  Pure."""
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


def inherited_ids(mode: str, requested: str, donors: Sequence[tuple[str, IdRange | None]]) -> IdRange | None:
    """Return the ids of the donors, whose namespaces a new container joins and whose ids it must have.  Pure.

    *mode* is the effective mode, *requested* the one in the request.  *donors* are (name, ids).  Raises BadRequest if
    the ids of the donors differ, if they have no user namespace although *mode* asks for one, or if they have one
    although *requested* is ``host``.
    """
    for name, ids in donors:
        if ids != donors[0][1]:
            raise BadRequest(
                f"cannot join namespaces of {donors[0][0]} and {name} at once: their user namespaces have different ids"
            )
        if (ids is None) != (mode == "none") and (ids is None or requested == "host"):
            kind = "no user namespace" if ids is None else "a user namespace"
            remedy = "use --userns host" if ids is None else "leave --userns host out"
            raise BadRequest(f"cannot join namespaces of container {name}, which has {kind}: {remedy}")
    return donors[0][1] if donors else None


def _donors(host: HostConfig) -> Iterable[str]:
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    return [name for mode in modes if (name := joined_container(mode)) is not None]


def _read_pool(setting: str) -> IdRange:
    if setting:
        return id_ranges.parse(setting, "userns_range")
    return id_ranges.subordinate_range(_read(Path("/etc/subuid")), _read(Path("/etc/subgid")))


def _read(path: Path) -> str:
    """Return the text of a small file, at most 1 MiB; empty if it does not exist."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise BadRequest(f"cannot read {path}: {problem.strerror}: {id_ranges.REMEDY}") from None


def _check_idmapped_mounts(user_namespace: int, path: str) -> None:
    tree = linux.open_tree(linux.AT_FDCWD, path, recursive=False)
    try:
        idmapped_mounts.idmap(tree, user_namespace, path)
    except idmapped_mounts.CannotIdmap as problem:
        raise BadRequest(f"user namespaces cannot be used: {problem}") from None
    finally:
        os.close(tree)
