"""A container's side of netd: one call brings all its networking, one takes it away.

Holds no state: what netd answered is in the container's record, and which namespace it runs in is in ``Live``.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from netd.api import ConnectRequest, DisconnectRequest, EndpointSettings, SandboxSettings, SandboxView
from netd.client import NetdClient
from netd.common.errors import BadRequest, Conflict, NotFound, Problem, ServerError
from netd.common.tasks import Tasks
from runtime.engine.containers import etc_files
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.options import networking
from runtime.paths import ContainerPaths, Paths
from runtime.record import ContainerRecord

_log = logging.getLogger(__name__)
_PAUSES = (0.5, 3.0, 15.0)
"""Seconds before a deletion is tried again."""
_PREFIX = "failed to set up container networking: "


@dataclass(frozen=True, slots=True)
class SandboxAttachment:
    """What a container gets of networking at its start."""

    netns: str | None
    hostname: str
    files: ContainerPaths
    settings: SandboxSettings | None
    """None when the files and the network are another container's."""
    hosts: str = ""
    resolv_conf: str = ""


class NetworkAttachments:
    def __init__(
        self, netd: NetdClient, containers: Containers, paths: Paths, static_addresses: StaticAddresses, tasks: Tasks
    ) -> None:
        self._tasks = tasks
        self._netd = netd
        self._static_addresses = static_addresses
        self._containers = containers
        self._paths = paths
        self._leaving: set[asyncio.Task[None]] = set()

    async def settled(self) -> None:
        """Return when all that has begun to leave is gone, so that its addresses and ports are free."""
        if self._leaving:
            await asyncio.wait(set(self._leaving))

    async def join(self, container: Container, netns: str = "") -> SandboxAttachment:
        """Make the container's sandbox, of the namespace at *netns* if that is given, or join another container's.

        Raises the Problem that netd tells, in Docker's words; nothing is left then.
        """
        if networking.shares_network(container.record.host):
            return self._share(container)
        hostname = container.record.config.hostname
        await self.settled()
        try:
            view = await self._netd.create_sandbox(networking.request(container.record, hostname, netns))
        except Problem as problem:
            raise _prefixed(problem) from problem
        own = self._paths.container(container.id)
        return SandboxAttachment(view.netns, hostname, own, view.network_settings, view.hosts, view.resolv_conf)

    def _share(self, container: Container) -> SandboxAttachment:
        name = networking.donor(container.record.host) or ""
        if name == container.id:
            raise ServerError(f"{_PREFIX}cannot join own network namespace")
        try:
            donor = self._containers.find(name)
        except NotFound as problem:
            raise ServerError(f"{_PREFIX}joining network namespace of container: {problem.message}") from None
        if not donor.record.state.alive:
            raise Conflict(
                f"{_PREFIX}cannot join network namespace of a non running container: container {donor.record.name} is"
                f" {donor.record.state.status}"
            )
        owner = donor
        while (above := networking.donor(owner.record.host)) and (next_one := self._containers.get(above)):
            owner = next_one
        files = self._paths.container(owner.id)
        return SandboxAttachment(donor.netns, donor.record.config.hostname or owner.record.config.hostname, files, None)

    def leave(self, container: Container) -> asyncio.Task[None]:
        """Begin to take the container's sandbox away; when netd is down, that is done as soon as it is back."""
        job = self._tasks.start(self._delete(container), f"leave {container.id[:12]}")
        self._leaving.add(job)
        job.add_done_callback(self._leaving.discard)
        return job

    async def _delete(self, container: Container) -> None:
        if not networking.shares_network(container.record.host) and not await self._deleted(container):
            self._tasks.start(self._delete_later(container), f"delete-sandbox {container.id[:12]}")

    async def _delete_later(self, container: Container) -> None:
        """Repeat a deletion that netd refused; after the last try the sandbox stays until netd starts again."""
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            async with container.lock:
                if container.running is not None or await self._deleted(container):
                    return

    async def _deleted(self, container: Container) -> bool:
        try:
            await self._netd.delete_sandbox(container.id)
        except NotFound:
            pass
        except Problem as problem:
            _log.warning("sandbox not deleted: container=%s error=%s", container.id[:12], problem.message)
            return False
        return True

    async def rename(self, container: Container, name: str) -> None:
        """Let others find a running container by its new name."""
        await self._static_addresses.tell(container)
        if not container.record.state.alive or networking.shares_network(container.record.host):
            return
        view = await self._netd.rename_sandbox(container.id, name)
        endpoints = networking.resolved(container.record.endpoints, view.network_settings.networks)
        self._containers.note(container, network=view.network_settings, endpoints=endpoints)

    # Connecting and disconnecting

    async def connect(self, container: Container, network: str, settings: EndpointSettings) -> None:
        """Attach the container to a further network: now when it runs, else at its next start."""
        network = "bridge" if network == "default" else network
        networking.check_endpoint(network, settings)
        await self.settled()
        async with container.lock:
            _check_mode(container.record, network)
            endpoints = container.record.endpoints
            if container.record.state.alive:
                view = await self._netd.connect(
                    network, ConnectRequest(container=container.id, endpoint_config=settings)
                )
                joined = networking.resolved({**endpoints, network: settings}, view.network_settings.networks)
                await self._take(container, view, joined)
            elif networking.stored_name(endpoints, network) is None:
                await self._containers.change(container, endpoints={**endpoints, network: settings.requested()})
            await self._static_addresses.tell(container)

    async def disconnect(self, container: Container, network: str, force: bool) -> None:
        """Detach the container from a network.  Raises ServerError when it is not on it."""
        network = "bridge" if network == "default" else network
        if networking.mode(container.record.host) == "host":
            raise BadRequest(
                "cannot disconnect container from host network - container was created in host network mode"
            )
        async with container.lock:
            name = networking.stored_name(container.record.endpoints, network)
            if not container.record.state.alive and name is None:
                raise ServerError(f"container {container.id} is not connected to the network {network}")
            left = {key: one for key, one in container.record.endpoints.items() if key != name}
            if container.record.state.alive:
                asked = DisconnectRequest(container=container.id, force=force)
                await self._take(container, await self._netd.disconnect(network, asked), left)
            else:
                await self._containers.change(container, endpoints=left)
            await self._static_addresses.tell(container)

    async def _take(self, container: Container, view: SandboxView, endpoints: dict[str, EndpointSettings]) -> None:
        await self._containers.change(container, endpoints=endpoints, network=view.network_settings)
        own = self._paths.container(container.id)
        if await asyncio.to_thread(etc_files.rewrite_hosts, own, container.hosts, view.hosts):
            container.hosts = view.hosts


def _check_mode(record: ContainerRecord, network: str) -> None:
    mode = networking.mode(record.host)
    if networking.shares_network(record.host) or (mode == "host" and network != "host"):
        raise BadRequest(
            "container sharing network namespace with another container or host cannot be connected to any other"
            " network"
        )
    if network == "host" and mode != "host":
        raise BadRequest("cannot connect container to host network - container must be created in host network mode")
    joined = set(record.endpoints) | {network}
    if "none" in joined and len(joined) > 1:
        raise BadRequest(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


def _prefixed(problem: Problem) -> Problem:
    """Say what failed, and keep whose fault it is."""
    kind = type(problem) if type(problem).__init__ is Problem.__init__ else ServerError
    return kind(_PREFIX + problem.message)
