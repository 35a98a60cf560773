"""Creates and deletes the sandboxes of containers in netd, and connects containers to networks.

Each container needs one request to create its networking and one to delete it.  netd's response is kept in the
container's record, the path of its network namespace in ``Container``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field

import msgspec

from netd.api import ConnectRequest, DisconnectRequest, EndpointSettings, SandboxSettings, SandboxView
from netd.client import NetdClient
from netd.common.errors import BadRequest, Conflict, NotFound, Problem, ServerError, Unavailable
from netd.common.events import Event
from netd.common.tasks import Tasks, start_awaited
from runtime.container_config import joined_container
from runtime.engine.containers import etc_files
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.network.offline_sandboxes import OfflineSandboxes, create_sandbox
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.options import networking, sysctls
from runtime.paths import ContainerPaths, Paths
from runtime.record import ContainerRecord

_log = logging.getLogger(__name__)
_RETRY_DELAYS = (0.5, 3.0, 15.0)
"""Seconds before each further attempt of a deletion."""
_EVENT_SECONDS = 0.25
"""How long a start or an exit waits for the events of its sandbox, which Docker publishes before its own."""
_PREFIX = "failed to set up container networking: "


@dataclass(frozen=True, slots=True)
class SandboxAttachment:
    """The networking of a container that is being started."""

    netns: str | None
    hostname: str
    files: ContainerPaths
    settings: SandboxSettings | None
    """None if the container shares files and network of another container."""
    hosts: str = ""
    resolv_conf: str = ""
    offline: bool = False
    """netd was away; *netns* is the path of *descriptor*."""
    descriptor: int = -1

    def close(self) -> None:
        """Close the descriptor; a container that has been started keeps the namespace."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


class DonorRemoved(ServerError):
    """A container that is to be joined or linked to was removed."""


@dataclass(slots=True)
class _ExpectedEvents:
    """The events of a sandbox; they arrive by another connection than the response to its creation or deletion."""

    count: int
    action: str
    arrived: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class NetworkAttachments:
    def __init__(
        self,
        netd: NetdClient,
        containers: Containers,
        paths: Paths,
        static_addresses: StaticAddresses,
        offline: OfflineSandboxes,
        tasks: Tasks,
    ) -> None:
        self._offline = offline
        self._tasks = tasks
        self._netd = netd
        self._static_addresses = static_addresses
        self._containers = containers
        self._paths = paths
        self._pending_leaves: set[asyncio.Task[None]] = set()
        self._expected_events: dict[str, _ExpectedEvents] = {}
        self._expected_connects: dict[str, _ExpectedEvents] = {}
        """Those of containers that are being started, whose number may not be known yet."""
        """By container id, the events of netd about a deleted sandbox that have not arrived yet."""

    async def wait_for_leaves(self) -> None:
        """Wait until all sandboxes that are being deleted are gone, and their addresses and ports are free."""
        if self._pending_leaves:
            await asyncio.wait(set(self._pending_leaves))

    async def join(self, container: Container, netns: str = "") -> SandboxAttachment:
        """Create the container's sandbox, in the namespace at *netns* if given, or join that of another container.

        Without netd, a container that needs no network is attached all the same.  Raises netd's Problem with Docker's
        prefix, and then leaves no sandbox.  The caller closes the attachment.
        """
        if networking.shares_network(container.record.host):
            return self._share(container)
        hostname = container.record.config.hostname
        await self.wait_for_leaves()
        request = networking.sandbox_request(container.record, hostname, netns)
        descriptor, offline = -1, False
        try:
            expected = self._expected_connects[container.id] = _ExpectedEvents(0, "connect")
            try:
                view = await create_sandbox(self._netd, request)
                expected.count += len(view.network_settings.networks or ())
            except Unavailable:
                if not networking.needs_no_network(container.record):
                    raise
                offline = True
                view, descriptor = await self._offline.prepare(container, request)
        except Problem as problem:
            self._expected_connects.pop(container.id, None)
            raise _prefixed(problem) from problem
        own = self._paths.container(container.id)
        return SandboxAttachment(
            view.netns, hostname, own, view.network_settings, view.hosts, view.resolv_conf, offline, descriptor
        )

    async def wait_for_connects(self, container: Container) -> None:
        """Wait until netd's events about the sandbox that :meth:`join` created have been passed on."""
        expected = self._expected_connects.pop(container.id, None)
        if expected is not None and expected.count > 0:
            self._expected_events[container.id] = expected
            try:
                await asyncio.wait({expected.arrived}, timeout=_EVENT_SECONDS)
            finally:
                del self._expected_events[container.id]

    async def check(self, record: ContainerRecord) -> None:
        """Raise the Problem with which every start of the container would be refused; nothing while netd is away."""
        if networking.shares_network(record.host):
            return
        try:
            await self._netd.check_sandbox(networking.sandbox_request(record, record.config.hostname))
        except Unavailable as problem:
            _log.warning("networking not checked: container=%s error=%s", record.short_id, problem.message)
        except NotFound as problem:
            raise BadRequest(problem.message) from None

    def _share(self, container: Container) -> SandboxAttachment:
        name = joined_container(container.record.host.network_mode) or ""
        if name == container.id:
            raise ServerError(f"{_PREFIX}cannot join own network namespace")
        try:
            donor = self._containers.find(name)
        except NotFound as problem:
            raise DonorRemoved(f"{_PREFIX}joining network namespace of container: {problem.message}") from None
        if not donor.record.state.alive:
            raise Conflict(
                f"{_PREFIX}cannot join network namespace of a non running container: container {donor.record.name} is"
                f" {donor.record.state.status}"
            )
        owner = donor
        while (identifier := joined_container(owner.record.host.network_mode)) and (
            next_owner := self._containers.get(identifier)
        ):
            owner = next_owner
        named = sysctls.of_network(container.record.host.sysctls)
        if named and not networking.owns_network(owner.record.host):
            raise BadRequest(
                f"sysctl '{named[0]}' is not allowed in the host's network namespace, which container"
                f" {donor.record.name} shares"
            )
        files = self._paths.container(owner.id)
        return SandboxAttachment(donor.netns, donor.record.config.hostname or owner.record.config.hostname, files, None)

    def leave(self, container: Container) -> asyncio.Task[None]:
        """Start to delete the container's sandbox; a failed deletion is retried in the background."""
        task = self._tasks.start(self._delete(container), f"leave {container.id[:12]}")
        self._pending_leaves.add(task)
        task.add_done_callback(self._pending_leaves.discard)
        return task

    async def _delete(self, container: Container) -> None:
        if networking.shares_network(container.record.host):
            return
        expected = _ExpectedEvents(
            len(container.record.network.networks) if container.record.network else 0, "disconnect"
        )
        self._expected_connects.pop(container.id, None)
        self._expected_events[container.id] = expected
        try:
            if not await self._try_delete(container) and not container.offline:
                self._tasks.start(self._delete_later(container), f"delete-sandbox {container.id[:12]}")
            elif expected.count > 0:
                await asyncio.wait({expected.arrived}, timeout=_EVENT_SECONDS)
        finally:
            del self._expected_events[container.id]

    def on_netd_event(self, event: Event) -> None:
        """Note an event that netd has published and the runtime has passed on."""
        identifier = event.actor.attributes.get("container", "")
        awaited = self._expected_events.get(identifier)
        expected = awaited or self._expected_connects.get(identifier)
        if expected is not None and event.action == expected.action:
            expected.count -= 1
            if awaited is not None and awaited.count <= 0 and not awaited.arrived.done():
                awaited.arrived.set_result(None)

    async def _delete_later(self, container: Container) -> None:
        """Retry a failed deletion; after the last attempt the sandbox stays until reconciliation deletes it."""
        for delay in _RETRY_DELAYS:
            await asyncio.sleep(delay)
            async with container.lock:
                if container.running is not None or await self._try_delete(container):
                    return

    async def _try_delete(self, container: Container) -> bool:
        """Return whether the sandbox no longer exists; a failure is logged."""
        try:
            await self._netd.delete_sandbox(container.id)
        except NotFound:
            pass
        except Problem as problem:
            _log.warning("sandbox not deleted: container=%s error=%s", container.id[:12], problem.message)
            return False
        return True

    async def rename(self, container: Container, name: str) -> None:
        """Rename the container in netd, so that DNS resolves its new name."""
        await self._static_addresses.reserve(container)
        if not container.record.state.alive or container.offline or networking.shares_network(container.record.host):
            return
        view = await self._netd.rename_sandbox(container.id, name)
        endpoints = networking.resolved_endpoints(container.record.endpoints, view.network_settings.networks)
        self._containers.update_deferred(container, network=view.network_settings, endpoints=endpoints)

    # Connect and disconnect

    async def connect(self, container: Container, network: str, settings: EndpointSettings) -> None:
        """Connect the container to a further network: now if it runs, otherwise at its next start."""
        network = "bridge" if network == "default" else network
        networking.check_endpoint(network, settings)
        await self.wait_for_leaves()
        async with container.hold():
            _check_mode(container.record, network)
            endpoints = container.record.endpoints
            await self._register(container)
            if container.record.state.alive:
                view = await self._netd.connect(
                    network, ConnectRequest(container=container.id, endpoint_config=settings)
                )
                joined = networking.resolved_endpoints({**endpoints, network: settings}, view.network_settings.networks)
                await self._apply_view(container, view, joined)
            elif networking.endpoint_key(endpoints, network) is None:
                joined = {**endpoints, network: settings.requested()}
                await self.check(msgspec.structs.replace(container.record, endpoints=joined))
                await self._containers.update(container, endpoints=joined)
            await self._static_addresses.reserve(container)

    async def disconnect(self, container: Container, network: str, force: bool) -> None:
        """Disconnect the container from a network.  Raises ServerError if it is not connected to it."""
        network = "bridge" if network == "default" else network
        if networking.mode(container.record.host) == "host":
            raise BadRequest(
                "cannot disconnect container from host network - container was created in host network mode"
            )
        async with container.hold():
            name = networking.endpoint_key(container.record.endpoints, network)
            if not container.record.state.alive and name is None:
                raise ServerError(f"container {container.id} is not connected to the network {network}")
            await self._register(container)
            remaining = {key: endpoint for key, endpoint in container.record.endpoints.items() if key != name}
            if container.record.state.alive:
                request = DisconnectRequest(container=container.id, force=force)
                await self._apply_view(container, await self._netd.disconnect(network, request), remaining)
            else:
                await self._containers.update(container, endpoints=remaining)
            await self._static_addresses.reserve(container)

    async def _register(self, container: Container) -> None:
        """Create the sandbox of a container that was started without netd.  Raises Unavailable while netd is away."""
        if container.offline:
            await self._offline.register(container)

    async def _apply_view(
        self, container: Container, view: SandboxView, endpoints: dict[str, EndpointSettings]
    ) -> None:
        own = self._paths.container(container.id)
        rewriting = start_awaited(asyncio.to_thread(etc_files.rewrite_hosts, own, container.hosts, view.hosts))
        try:
            await self._containers.update(container, durable=False, endpoints=endpoints, network=view.network_settings)
        finally:
            if await rewriting:
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
    networking.check_exclusive({*record.endpoints, network})


def _prefixed(problem: Problem) -> Problem:
    """Return *problem* with Docker's prefix; a ServerError if the class of *problem* takes more than a message."""
    kind = type(problem) if type(problem).__init__ is Problem.__init__ else ServerError
    return kind(_PREFIX + problem.message)
