"""Starts one container: its networking, its process, its streams.

A failure rolls back the completed steps in reverse order.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from functools import partial

from netd.common.errors import BadRequest, Conflict, NotFound, Problem, ServerError
from netd.common.tasks import start_awaited
from runtime.container_config import joined_container
from runtime.engine.containers import etc_files
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.network.attachment import DonorRemoved, NetworkAttachments, SandboxAttachment
from runtime.engine.network.user_namespaces import UserNamespaces
from runtime.engine.options import links, networking, runtime_spec
from runtime.engine.options.runtime_spec import StartContext
from runtime.kernel import proc
from runtime.kernel.host_support import host_support
from runtime.paths import ContainerPaths, Paths
from runtime.shim_client.supervisor import Running, Supervisor
from runtime.spec import ContainerSpec, StartError
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.volumes import Volumes

_log = logging.getLogger(__name__)
_PREFIX = "failed to create task for container: "
PROGRAM_ERRORS = (126, 127)
"""Exit codes for a program that cannot be executed and one that does not exist: errors of the request."""


class BindSourceMissing(BadRequest):
    """The source of a bind mount does not exist: it may be on a file system that is not mounted yet."""


class Starter:
    def __init__(
        self,
        containers: Containers,
        supervisor: Supervisor,
        network: NetworkAttachments,
        paths: Paths,
        user_namespaces: UserNamespaces,
        drivers: StorageDrivers,
        volumes: Volumes,
    ) -> None:
        self._volumes = volumes
        self._drivers = drivers
        self._user_namespaces = user_namespaces
        self._containers = containers
        self._supervisor = supervisor
        self._network = network
        self._paths = paths

    async def start(self, container: Container) -> tuple[Running, SandboxAttachment]:
        """Return the running process and its networking.  Raises a Problem or StartError after the rollback."""
        async with (
            self._user_namespaces.namespaces(container) as namespaces,
            AsyncExitStack() as opened,
            AsyncExitStack() as undo,
        ):
            self._check_links(container)
            await self._mount_volumes(container, undo)
            joining = start_awaited(self._join(container, namespaces.network, opened, undo))
            try:
                if namespaces.user or networking.shares_network(container.record.host):
                    running = await self._prepare_after(container, joining, namespaces.user, undo)
                else:
                    running = await self._prepare_beside(container, joining, undo)
            except BaseException as error:
                await asyncio.wait({joining})
                # Retrieved also when the start is cancelled: asyncio logs an error that nothing has retrieved.
                refusal = None if joining.cancelled() else joining.exception()
                if isinstance(error, Exception) and refusal is not None:
                    raise refusal from None
                raise
            await self._network.wait_for_connects(container)
            await container.connect_pending_attachments(running)
            await self._supervisor.release(running)
            undo.pop_all()
        return running, joining.result()

    async def _join(
        self, container: Container, netns: str, opened: AsyncExitStack, undo: AsyncExitStack
    ) -> SandboxAttachment:
        attachment = await self._network.join(container, netns)
        opened.callback(attachment.close)
        container.offline = attachment.offline
        undo.push_async_callback(self._leave, container)
        return attachment

    async def _prepare_after(
        self, container: Container, joining: asyncio.Future[SandboxAttachment], userns: str, undo: AsyncExitStack
    ) -> Running:
        """Prepare a container that depends on its networking: by a user namespace or another container's files."""
        attachment = await asyncio.shield(joining)
        spec = self._spec(container, attachment.hostname, attachment.files, netns=attachment.netns, userns=userns)
        await asyncio.to_thread(self._prepare_files, container)
        if attachment.settings is not None:
            await asyncio.to_thread(self._write_files, container, attachment)
        running = await self._supervisor.prepare(spec)
        undo.push_async_callback(self._supervisor.discard, container.id)
        return running

    async def _prepare_beside(
        self, container: Container, joining: asyncio.Future[SandboxAttachment], undo: AsyncExitStack
    ) -> Running:
        """Prepare the container while netd creates its sandbox."""
        files = self._paths.container(container.id)
        spec = self._spec(container, container.record.config.hostname, files, network_later=True)
        await asyncio.to_thread(self._prepare_files, container)
        namespace = start_awaited(_namespace(joining))
        writing = start_awaited(self._write_when_joined(container, joining))
        try:
            running = await self._supervisor.prepare(spec, namespace)
            undo.push_async_callback(self._supervisor.discard, container.id)
        finally:
            await asyncio.gather(namespace, writing, return_exceptions=True)
        await writing
        return running

    async def _write_when_joined(self, container: Container, joining: asyncio.Future[SandboxAttachment]) -> None:
        attachment = await asyncio.shield(joining)
        await asyncio.to_thread(self._write_files, container, attachment)

    def _check_links(self, container: Container) -> None:
        """Raise ServerError, with Docker's text, for a link to a container that does not run."""
        for link in self._containers.links(container):
            if link.target is None or link.target.running is None:
                kind = ServerError if link.target else DonorRemoved
                alias = f"/{container.record.name}/{link.alias}"
                raise kind(f"Cannot link to a non running container: /{link.target_name} AS {alias}")

    async def _mount_volumes(self, container: Container, undo: AsyncExitStack) -> None:
        for point in container.record.mounts:
            if point.type == "volume":
                await self._volumes.mount(point.name)
                undo.push_async_callback(self._unmount_volume, point.name)
                undo.callback(self._volumes.publish_unmount, point.name, container.id)
                self._volumes.publish_mount(
                    point.name, container.id, point.destination, writable=point.rw, mode=point.propagation
                )

    def publish_unmounts(self, container: Container) -> None:
        """Publish the events of :meth:`unmount_volumes`, which precede that of the exit."""
        for point in container.record.mounts:
            if point.type == "volume":
                self._volumes.publish_unmount(point.name, container.id)

    async def unmount_volumes(self, container: Container) -> None:
        """Undo the mounts of volumes that no other running container uses; the container has no process."""
        for point in container.record.mounts:
            if point.type == "volume":
                await self._unmount_volume(point.name)

    async def _unmount_volume(self, name: str) -> None:
        try:
            await self._volumes.unmount(name, partial(self._containers.running_with_volume, name))
        except OSError as error:
            _log.warning("volume not unmounted: volume=%s error=%s", name, error)

    async def _leave(self, container: Container) -> None:
        await self._network.leave(container)

    def _spec(
        self,
        container: Container,
        hostname: str,
        files: ContainerPaths,
        *,
        netns: str | None = None,
        network_later: bool = False,
        userns: str = "",
    ) -> ContainerSpec:
        record = container.record
        context = StartContext(
            hostname=hostname,
            netns=netns,
            network_later=network_later,
            userns=userns,
            pid_mode=self._namespace(record.host.pid_mode, "pid"),
            ipc_mode=self._namespace(record.host.ipc_mode, "ipc"),
            root=self._drivers.of(record.driver).source(
                self._paths.container(container.id), self._paths.layer_folders(record.layers)
            ),
            files=files,
            cpus=os.cpu_count() or 1,
            memory_nodes=host_support().memory_nodes,
            link_environment=link_environment(self._containers, container),
        )
        return runtime_spec.container(record, self._paths.container(container.id), context)

    def _namespace(self, mode: str, kind: str) -> str:
        name = joined_container(mode)
        if name is None:
            return "host" if mode == "host" else "private"
        try:
            donor = self._containers.find(name)
        except NotFound as problem:
            raise DonorRemoved(f"failed to join {kind.upper()} namespace: {problem.message}") from None
        if donor.running is None:
            raise Conflict(f"cannot join {kind.upper()} of a non running container: {donor.id}")
        if kind == "ipc":
            check_shareable(donor)
        return proc.namespace_path(donor.running.pid, kind)

    def _prepare_files(self, container: Container) -> None:
        """Create files and folders, which a crash of the host, or a user, may have deleted."""
        record, own = container.record, self._paths.container(container.id)
        missing = next((chain for chain in record.layers if not self._paths.layer(chain).is_dir()), None)
        if missing:
            raise ServerError(f"the layer {missing} of image {record.config.image} is gone: import the image again")
        self._drivers.of(record.driver).prepare(own, self._paths.layer_folders(record.layers))
        if not networking.shares_network(record.host):
            etc_files.create_files(own)
        for point in record.mounts:
            if point.type == "volume":
                etc_files.create_volume_folder(point.source)
            elif point.type == "bind" and not os.path.lexists(point.source):
                raise BindSourceMissing(
                    f'invalid mount config for type "bind": bind source path does not exist: {point.source}'
                )

    def _write_files(self, container: Container, attachment: SandboxAttachment) -> None:
        own = self._paths.container(container.id)
        etc_files.write_files(
            own, hostname=attachment.hostname, hosts=attachment.hosts, resolv_conf=attachment.resolv_conf
        )


async def _namespace(joining: asyncio.Future[SandboxAttachment]) -> str | None:
    return (await asyncio.shield(joining)).netns


def check_shareable(donor: Container) -> None:
    """Raise BadRequest, with Docker's text, if other containers cannot join the IPC namespace of *donor*."""
    if donor.record.host.ipc_mode in ("", "none", "private"):
        raise BadRequest(
            f"failed to join IPC namespace: container {donor.id}: non-shareable IPC"
            " (hint: use IpcMode:shareable for the donor container)"
        )


def link_environment(containers: Containers, container: Container) -> tuple[str, ...]:
    """Return the variables for the container's links to running containers."""
    owner = container.record.name
    return tuple(
        variable
        for link in containers.links(container)
        if link.target is not None and link.target.running is not None
        for variable in links.environment(owner, link.alias, link.target.record)
    )


def start_problem(error: StartError) -> Problem:
    """Return the Problem that is sent to the client for a process that did not start."""
    kind = BadRequest if error.code in PROGRAM_ERRORS else ServerError
    return kind(_PREFIX + error.message)
