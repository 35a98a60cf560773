"""Networking of containers with network ``none`` or ``host`` while netd is not running.

Such a container needs nothing that netd owns: its namespace has no interface but ``lo``, or it is the host's.  When
netd answers again, the container's sandbox is created in netd with the namespace that the container has.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from netd import container_files
from netd.api import EndpointSettings, SandboxRequest, SandboxSettings, SandboxView
from netd.client import NetdClient
from netd.common.config import Settings
from netd.common.errors import Conflict, Problem, ServerError, Unavailable
from netd.common.ids import short
from netd.container_files import HOST_GATEWAY, FileSettings
from netd.host_files import HostFileReader
from runtime import frames
from runtime.engine.containers import etc_files
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options import networking
from runtime.kernel import network_namespace, proc
from runtime.paths import Paths
from runtime.record import ContainerRecord

_log = logging.getLogger(__name__)


class OfflineSandboxes:
    def __init__(self, netd: NetdClient, containers: Containers, paths: Paths, settings: Settings) -> None:
        self._netd = netd
        self._containers = containers
        self._paths = paths
        self._servers = settings.dns
        self._host_files = HostFileReader(settings.resolv_conf)

    async def prepare(self, container: Container, request: SandboxRequest) -> tuple[SandboxView, int]:
        """Return what netd would return for a container without networks, and a descriptor of its namespace.

        The descriptor is -1 on the host's network.  Raises ServerError if the namespace cannot be created.
        """
        descriptor = -1
        if not _is_on_host(container.record):
            sysctls = tuple(sorted((request.sysctls or {}).items()))
            try:
                if request.netns:
                    descriptor = await asyncio.to_thread(network_namespace.prepare, request.netns, sysctls)
                else:
                    descriptor = await asyncio.to_thread(network_namespace.create, sysctls)
            except OSError as error:
                raise ServerError(f"cannot create a network namespace: {error.strerror or error}") from error
        return self._view(container.record, proc.descriptor_path(descriptor) if descriptor >= 0 else None), descriptor

    def _view(self, record: ContainerRecord, netns: str | None) -> SandboxView:
        settings, host = file_settings(record), self._host_files.read()
        return SandboxView(
            id=record.id,
            name=record.name,
            netns=netns,
            resolv_conf=container_files.resolv_conf(settings, host, self._servers),
            hosts=container_files.hosts(settings, host, ()),
            network_settings=SandboxSettings(
                sandbox_id=record.id,
                sandbox_key=str(self._paths.run / "netns" / (short(record.id) if netns else "default")),
                networks={name: known_settings(endpoint) for name, endpoint in _endpoints(record).items()},
            ),
        )

    def is_unknown(self, container: Container, view: SandboxView | None) -> bool:
        """Return whether netd does not know the running container's sandbox, which :meth:`register` can create.

        *view* is netd's sandbox of the container.  It has another namespace if netd carried out a request that the
        runtime no longer waited for.
        """
        if not networking.needs_no_network(container.record):
            return False
        if container.offline or view is None:
            return True
        if view.netns is None or container.running is None:
            return False
        try:
            own = proc.namespace_inode(proc.namespace_path(container.running.pid, "net"))
            return proc.namespace_inode(view.netns) != own
        except OSError:
            return False

    async def register_started(self, container: Container) -> None:
        """Register a container that was started while netd was away, if netd answers again by now."""
        try:
            async with container.lock:
                if container.offline:
                    await self.register(container)
        except Unavailable:
            pass

    async def register(self, container: Container) -> None:
        """Create netd's sandbox for the running container, whose lock the caller holds.

        Raises Unavailable while netd is down; any other refusal is logged.
        """
        if container.running is None:
            return
        record, descriptor = container.record, -1
        before = self._view(record, container.netns)
        try:
            if not _is_on_host(record):
                descriptor = network_namespace.open_of(container.running.pid)
            path = proc.descriptor_path(descriptor) if descriptor >= 0 else ""
            view = await create_sandbox(self._netd, networking.sandbox_request(record, record.config.hostname, path))
        except FileNotFoundError:
            return  # The process has just exited.
        except Unavailable:
            raise
        except Problem as problem:
            _log.error("sandbox not created in netd: container=%s error=%s", container.id[:12], problem.message)
            return
        finally:
            frames.close_all([descriptor] if descriptor >= 0 else [])
        container.offline = False
        await self._apply(container, before, view)
        _log.info("sandbox created for a running container: container=%s", container.id[:12])

    async def _apply(self, container: Container, before: SandboxView, view: SandboxView) -> None:
        """Update the record and the files of a container that netd knows from now on."""
        endpoints = networking.resolved_endpoints(container.record.endpoints, view.network_settings.networks)
        self._containers.update_deferred(container, network=view.network_settings, endpoints=endpoints)
        container.netns = view.netns
        own = self._paths.container(container.id)
        hosts = container.hosts or before.hosts
        if await asyncio.to_thread(etc_files.rewrite_hosts, own, hosts, view.hosts):
            container.hosts = view.hosts
        await asyncio.to_thread(etc_files.rewrite_resolv_conf, own, before.resolv_conf, view.resolv_conf)


async def create_sandbox(netd: NetdClient, request: SandboxRequest) -> SandboxView:
    """Create a sandbox in netd, in place of one that is left of an earlier process of the container."""
    try:
        return await netd.create_sandbox(request)
    except Conflict:
        # A sandbox of it is left from a start or an exit that netd did not answer.
        await netd.delete_sandbox(request.id)
        return await netd.create_sandbox(request)


def file_settings(record: ContainerRecord) -> FileSettings:
    """Return what the files of a container without networks depend on.  Pure.

    A host name for ``host-gateway`` is left out, because only netd knows the gateways.
    """
    extra = (entry.partition(":") for entry in record.host.extra_hosts or ())
    return FileSettings(
        hostname=record.config.hostname,
        domainname=record.config.domainname,
        on_host=_is_on_host(record),
        dns=tuple(record.host.dns or ()),
        dns_search=tuple(record.host.dns_search or ()),
        dns_options=tuple(record.host.dns_options or ()),
        extra_hosts=tuple((name, address.strip("[]")) for name, _, address in extra if address != HOST_GATEWAY),
    )


def known_settings(endpoint: EndpointSettings) -> EndpointSettings:
    """Return the settings of an endpoint, with the network's id if it is known from an earlier start.  Pure."""
    return msgspec.structs.replace(endpoint.requested(), network_id=endpoint.network_id)


def _endpoints(record: ContainerRecord) -> dict[str, EndpointSettings]:
    return {} if record.config.network_disabled else dict(record.endpoints)


def _is_on_host(record: ContainerRecord) -> bool:
    return networking.mode(record.host) == "host" and not record.config.network_disabled
