"""Makes a container out of a request: checked first, then its volumes, its folder, and last its record.

A failure in between takes back what was made.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from netd.api import EndpointSettings
from netd.common.errors import BadRequest, NotFound
from netd.common.ids import new_id, now
from runtime.container_config import Config, CreateRequest, HostConfig
from runtime.engine.containers import etc_files
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.names import check_name
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.network.user_namespaces import UserNamespaces
from runtime.engine.options import mount_options, networking, port_bindings, validate
from runtime.engine.options.image_defaults import with_image
from runtime.engine.options.mount_options import MountRequest
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.paths import Paths
from runtime.record import ContainerRecord, MountPoint
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.volumes import Volumes


class Creator:
    def __init__(
        self,
        containers: Containers,
        images: Images,
        volumes: Volumes,
        paths: Paths,
        deferred_delete: DeferredDelete,
        static_addresses: StaticAddresses,
        user_namespaces: UserNamespaces,
    ) -> None:
        self._user_namespaces = user_namespaces
        self._containers = containers
        self._static_addresses = static_addresses
        self._images = images
        self._volumes = volumes
        self._paths = paths
        self._deferred_delete = deferred_delete

    async def run(self, asked: CreateRequest, name: str) -> tuple[Container, list[str]]:
        """Return the new container and warnings for the person who asked.  Raises Problems in Docker's words."""
        name = check_name(name) if name else self._containers.free_name()
        if not asked.image:
            raise BadRequest("no image was named: set Image")
        image = self._images.find(asked.image)
        identifier = new_id()
        draft = self._draft(asked, image, identifier, name)
        wanted = mount_options.wanted(draft.config, draft.host)
        self._containers.reserve(name, identifier)
        async with AsyncExitStack() as stay, AsyncExitStack() as undo:
            undo.callback(self._containers.release, name)
            userns = await stay.enter_async_context(self._user_namespaces.assigned(identifier, draft.host))
            points = [*await self._mount_points(wanted, draft, undo), *self._inherited(draft, wanted)]
            own = self._paths.container(identifier)
            undo.callback(self._deferred_delete.throw, own.folder)
            await asyncio.to_thread(etc_files.make, own, self._layers(draft)[0])
            tmpfs = {one.target: one.options for one in wanted if one.kind == "tmpfs"}
            container = await self._containers.add(
                msgspec.structs.replace(draft, mounts=points, tmpfs=tmpfs, userns=userns)
            )
            if self._images.by_id(image.id) is None:
                await self._containers.forget(container)
                raise NotFound(f"No such image: {asked.image}")
            undo.pop_all()
        await self._static_addresses.tell(container)
        self._containers.tell(container, "create")
        return container, _warnings(draft)

    def _draft(self, asked: CreateRequest, image: ImageRecord, identifier: str, name: str) -> ContainerRecord:
        host = asked.host_config or HostConfig()
        plain = Config(**{field: getattr(asked, field) for field in Config.__struct_fields__})
        config = with_image(plain, image.document.config)
        endpoints = networking.endpoints(asked.networking_config, host)
        validate.check(config, host, endpoints, os.cpu_count() or 1)
        host = self._with_full_ids(host)
        return ContainerRecord(
            id=identifier,
            name=name,
            created=now(),
            image=image.id,
            layers=image.layers[::-1],
            config=msgspec.structs.replace(config, hostname=_hostname(config, host, identifier)),
            host=msgspec.structs.replace(
                host, network_mode=networking.mode(host), port_bindings=port_bindings.explicit(host.port_bindings)
            ),
            endpoints=_with_mac(endpoints, config, host),
            mounts=[],
            tmpfs={},
        )

    def _with_full_ids(self, host: HostConfig) -> HostConfig:
        """Keep whose namespaces are joined by id: names may change."""
        return msgspec.structs.replace(
            host,
            network_mode=self._full(host.network_mode),
            pid_mode=self._full(host.pid_mode),
            ipc_mode=self._full(host.ipc_mode),
        )

    def _full(self, mode: str) -> str:
        if not mode.startswith("container:"):
            return mode
        return f"container:{self._containers.find(mode.removeprefix('container:')).id}"

    # Mounts

    async def _mount_points(
        self, wanted: Sequence[MountRequest], draft: ContainerRecord, undo: AsyncExitStack
    ) -> list[MountPoint]:
        makers = {"bind": self._bind, "volume": self._volume, "tmpfs": _tmpfs}
        return [await makers[one.kind](one, draft, undo) for one in wanted]

    async def _bind(self, one: MountRequest, _: ContainerRecord, __: AsyncExitStack) -> MountPoint:
        await asyncio.to_thread(_check_source, one)
        return MountPoint(
            type="bind",
            source=one.source,
            destination=one.target,
            mode=one.mode,
            rw=not one.read_only,
            propagation=one.propagation,
        )

    async def _volume(self, one: MountRequest, draft: ContainerRecord, undo: AsyncExitStack) -> MountPoint:
        fresh = not one.source or not self._volumes.exists(one.source)
        volume = await self._volumes.create(one.source, labels=dict(one.labels))
        if fresh and not one.source:
            undo.push_async_callback(self._volumes.remove, volume.name)
        if one.copy:
            await self._volumes.fill(volume.name, self._layers(draft), one.target)
        return MountPoint(
            type="volume",
            name=volume.name,
            source=str(self._volumes.folder(volume.name)),
            destination=one.target,
            driver="local",
            mode=one.mode,
            rw=not one.read_only,
        )

    def _layers(self, draft: ContainerRecord) -> list[str]:
        return [str(self._paths.layer(chain)) for chain in draft.layers]

    def _inherited(self, draft: ContainerRecord, wanted: Sequence[MountRequest]) -> list[MountPoint]:
        """Return the mounts of ``--volumes-from`` that nothing of its own replaces."""
        taken = {one.target for one in wanted}
        found = []
        for text in draft.host.volumes_from or ():
            name, _, mode = text.partition(":")
            if mode not in ("", "ro", "rw", "z", "Z"):
                raise BadRequest(f'invalid mode "{mode}" for volumes-from')
            for point in self._containers.find(name).record.mounts:
                if point.type != "tmpfs" and point.destination not in taken:
                    taken.add(point.destination)
                    found.append(msgspec.structs.replace(point, rw=point.rw and mode != "ro"))
        return found


async def _tmpfs(one: MountRequest, _: ContainerRecord, __: AsyncExitStack) -> MountPoint:
    return MountPoint(type="tmpfs", destination=one.target, rw=not one.read_only)


def _check_source(one: MountRequest) -> None:
    path = Path(one.source)
    if path.exists():
        return
    if not one.make_source:
        raise BadRequest(f'invalid mount config for type "bind": bind source path does not exist: {one.source}')
    try:
        path.mkdir(parents=True, mode=0o755)
    except OSError as error:
        raise BadRequest(f"cannot make the directory {one.source} to mount: {error.strerror}") from None


def _hostname(config: Config, host: HostConfig, identifier: str) -> str:
    if config.hostname or networking.shares_network(host):
        return config.hostname
    shared = networking.mode(host) == "host" or host.uts_mode == "host"
    return socket.gethostname() if shared else identifier[:12]


def _with_mac(endpoints: dict[str, EndpointSettings], config: Config, host: HostConfig) -> dict[str, EndpointSettings]:
    """Move a MAC address that was asked of the container to its first network."""
    if not config.mac_address or networking.shares_network(host):
        return endpoints
    network = next(iter(endpoints), networking.mode(host))
    settings = endpoints.get(network, EndpointSettings())
    wanted = settings.mac_address or config.mac_address
    return {**endpoints, network: msgspec.structs.replace(settings, mac_address=wanted)}


def _warnings(record: ContainerRecord) -> list[str]:
    found = []
    if networking.mode(record.host) == "host" and record.host.port_bindings:
        found.append("Published ports are discarded when using host network mode")
    if record.config.mac_address:
        found.append(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
        )
    return found
