"""Creates a container: validates the request, then creates volumes, folder, and last the record.

A failure rolls back the completed steps, except that new named volumes stay.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from netd.api import EndpointSettings
from netd.common.errors import BadRequest, NotFound
from netd.common.ids import new_id, now
from runtime.container_config import Config, CreateRequest, HostConfig, joined_container, legacy_links
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.names import check_name
from runtime.engine.lifecycle.start import check_shareable
from runtime.engine.network.attachment import NetworkAttachments
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.network.user_namespaces import UserNamespaces
from runtime.engine.options import (
    mount_options,
    networking,
    port_bindings,
    resources,
    security,
    storage_options,
    validate,
)
from runtime.engine.options.image_defaults import with_image_defaults
from runtime.engine.options.mount_options import MountRequest
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.kernel.host_support import host_support, hostname
from runtime.paths import Paths
from runtime.record import ContainerRecord, MountPoint, MountPointOptions
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.volumes import Volumes


class _Steps(NamedTuple):
    """``undo`` has the steps that a failure rolls back; ``claims`` ends the claims on volumes before that."""

    undo: AsyncExitStack
    claims: AsyncExitStack


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
        drivers: StorageDrivers,
        network: NetworkAttachments,
    ) -> None:
        self._network = network
        self._drivers = drivers
        self._user_namespaces = user_namespaces
        self._containers = containers
        self._static_addresses = static_addresses
        self._images = images
        self._volumes = volumes
        self._paths = paths
        self._deferred_delete = deferred_delete

    async def create(
        self, request: CreateRequest, name: str, *, unfinished: ImageRecord | None = None
    ) -> tuple[Container, list[str]]:
        """Return the new container and warnings for the client.  Raises Problems with Docker's messages.

        *unfinished* is the image of a build, which is not recorded; the caller holds its layers.
        """
        name = check_name(name) if name else self._containers.free_name()
        if not request.image:
            raise BadRequest("no image is given: set Image")
        image = unfinished or self._images.find(request.image)
        identifier = new_id()
        host, discarded = resources.adjusted(request.host_config or HostConfig(), host_support())
        draft = self._new_record(request, host, image, identifier, name)
        if unfinished:
            draft = msgspec.structs.replace(draft, build=True)
        mounts = mount_options.mount_requests(draft.config, draft.host)
        size = storage_options.size(draft.host.storage_opt)
        if size:
            self._drivers.default.check_size()
        await self._network.check(draft)
        self._containers.reserve_name(name, identifier)
        async with AsyncExitStack() as stack, AsyncExitStack() as undo, AsyncExitStack() as claims:
            undo.callback(self._containers.release_name, name)
            userns = await stack.enter_async_context(self._user_namespaces.allocate(identifier, draft.host))
            points = await self._mount_points(mounts, draft, _Steps(undo, claims))
            points += self._inherited(draft, mounts, claims)
            own = self._paths.container(identifier)
            undo.callback(self._deferred_delete.discard, own.folder)
            await asyncio.to_thread(self._drivers.default.prepare, own, self._layers(draft), size)
            tmpfs = {mount.target: mount.options for mount in mounts if mount.kind == "tmpfs"}
            container = await self._containers.add(
                msgspec.structs.replace(draft, mounts=points, tmpfs=tmpfs, userns=userns)
            )
            if unfinished is None and self._images.by_id(image.id) is None:
                await self._containers.delete(container)
                raise NotFound(f"No such image: {request.image}")
            undo.pop_all()
        await self._static_addresses.reserve(container)
        self._containers.publish_event(container, "create")
        return container, [*discarded, *_warnings(draft)]

    def _new_record(
        self, request: CreateRequest, host: HostConfig, image: ImageRecord, identifier: str, name: str
    ) -> ContainerRecord:
        plain = Config(**{field: getattr(request, field) for field in Config.__struct_fields__})
        config = with_image_defaults(plain, image.document.config)
        endpoints = networking.endpoints(request.networking_config, host)
        validate.check(config, host, endpoints, os.cpu_count() or 1, host_support())
        host = self._with_full_ids(host)
        return ContainerRecord(
            id=identifier,
            name=name,
            created=now(),
            image=image.id,
            layers=image.layers[::-1],
            driver=self._drivers.default.name,
            config=msgspec.structs.replace(
                config,
                hostname=_hostname(config, host, identifier),
                working_dir=config.working_dir and posixpath.normpath(config.working_dir),
            ),
            host=msgspec.structs.replace(
                host,
                network_mode=networking.mode(host),
                port_bindings=port_bindings.with_default_bindings(host.port_bindings),
                cgroupns_mode=host.cgroupns_mode or ("private" if host_support().unified else "host"),
                security_opt=security.with_implied(host),
            ),
            endpoints=_with_mac(endpoints, config, host),
            mounts=[],
            tmpfs={},
        )

    def _with_full_ids(self, host: HostConfig) -> HostConfig:
        """Return *host* with ids in place of the names of joined containers, because names may change."""
        return msgspec.structs.replace(
            host,
            network_mode=self._with_full_id(host.network_mode),
            pid_mode=self._with_full_id(host.pid_mode),
            ipc_mode=self._ipc_mode(host.ipc_mode),
            links=self._links_by_id(host) or host.links,
        )

    def _links_by_id(self, host: HostConfig) -> list[str]:
        """Return the links with ids in place of names; of links with the same alias the first counts."""
        targets: dict[str, str] = {}
        for name, alias in legacy_links(host):
            targets.setdefault(alias, self._find_used(name, f"could not get container for {name}: ").id)
        return [f"{target}:{alias}" for alias, target in targets.items()]

    def _find_used(self, name: str, prefix: str = "") -> Container:
        """Return a container that the new one uses.  Raises BadRequest: clients take NotFound for a missing image."""
        try:
            return self._containers.find(name)
        except NotFound as problem:
            raise BadRequest(f"{prefix}{problem.message}") from None

    def _ipc_mode(self, mode: str) -> str:
        name = joined_container(mode)
        if name is not None:
            check_shareable(self._find_used(name))
        return self._with_full_id(mode)

    def _with_full_id(self, mode: str) -> str:
        name = joined_container(mode)
        return mode if name is None else f"container:{self._find_used(name).id}"

    # Mounts

    async def _mount_points(
        self, mounts: Sequence[MountRequest], draft: ContainerRecord, steps: _Steps
    ) -> list[MountPoint]:
        creators = {"bind": self._bind, "volume": self._volume, "tmpfs": _tmpfs, "image": self._image}
        return [await creators[mount.kind](mount, draft, steps) for mount in mounts if mount.shown]

    async def _bind(self, mount: MountRequest, _: ContainerRecord, __: _Steps) -> MountPoint:
        await asyncio.to_thread(_check_source, mount)
        return MountPoint(
            type="bind",
            source=mount.source,
            destination=mount.target,
            mode=mount.mode,
            rw=not mount.read_only,
            propagation=mount.propagation,
            options=_options(mount),
        )

    async def _image(self, mount: MountRequest, _: ContainerRecord, __: _Steps) -> MountPoint:
        image = self._images.find(mount.source)
        options = MountPointOptions(
            subpath=mount.subpath, layers=self._paths.layer_folders(image.layers[::-1]), image=image.id
        )
        return MountPoint(
            type="image",
            name=mount.source,
            source=options.layers[0],
            destination=mount.target,
            rw=False,
            propagation=mount.propagation,
            options=options,
        )

    async def _volume(self, mount: MountRequest, draft: ContainerRecord, steps: _Steps) -> MountPoint:
        name = mount.source or new_id()
        steps.claims.enter_context(self._volumes.claim(name))
        volume = await self._volumes.create(
            name, labels=dict(mount.labels), options=dict(mount.driver_options), anonymous=not mount.source
        )
        if not mount.source:
            steps.undo.push_async_callback(self._volumes.remove, name)
        if mount.copy and not mount.subpath:
            users = partial(self._containers.running_with_volume, volume.name)
            await self._volumes.fill(volume.name, self._layers(draft), mount.target, users)
        return MountPoint(
            type="volume",
            name=volume.name,
            source=str(self._volumes.folder(volume.name)),
            destination=mount.target,
            driver="local",
            mode=mount.mode,
            rw=not mount.read_only,
            options=_options(mount),
        )

    def _layers(self, draft: ContainerRecord) -> list[str]:
        return self._paths.layer_folders(draft.layers)

    def _inherited(
        self, draft: ContainerRecord, mounts: Sequence[MountRequest], claims: AsyncExitStack
    ) -> list[MountPoint]:
        """Return the mounts of ``--volumes-from``, without tmpfs and without targets of the request's own mounts."""
        targets = {mount.target for mount in mounts}
        inherited = []
        for text in draft.host.volumes_from or ():
            name, _, mode = text.partition(":")
            if mode not in ("", "ro", "rw", "z", "Z"):
                raise BadRequest(f"invalid mode: {mode}")
            if not name:
                raise BadRequest("volumes-from specification cannot be an empty string")
            for point in self._find_used(name).record.mounts:
                if point.type != "tmpfs" and point.destination not in targets:
                    targets.add(point.destination)
                    claims.enter_context(self._volumes.claim(point.name))
                    inherited.append(msgspec.structs.replace(point, rw=point.rw and mode != "ro"))
        return inherited


async def _tmpfs(mount: MountRequest, _: ContainerRecord, __: _Steps) -> MountPoint:
    return MountPoint(type="tmpfs", destination=mount.target, rw=not mount.read_only)


def _options(mount: MountRequest) -> MountPointOptions | None:
    options = MountPointOptions(
        subpath=mount.subpath, recursive=mount.recursive, read_only_recursive=mount.read_only_recursive
    )
    return None if options == MountPointOptions() else options


def _check_source(mount: MountRequest) -> None:
    path = Path(mount.source)
    if path.exists():
        return
    if not mount.create_source:
        raise BadRequest(f'invalid mount config for type "bind": bind source path does not exist: {mount.source}')
    try:
        path.mkdir(parents=True, mode=0o755)
    except OSError as error:
        raise BadRequest(f"cannot create the directory {mount.source} to mount: {error.strerror}") from None


def _hostname(config: Config, host: HostConfig, identifier: str) -> str:
    if config.hostname or networking.shares_network(host):
        return config.hostname
    shared = networking.mode(host) == "host" or host.uts_mode == "host"
    return hostname() if shared else identifier[:12]


def _with_mac(endpoints: dict[str, EndpointSettings], config: Config, host: HostConfig) -> dict[str, EndpointSettings]:
    """Return *endpoints* with the container-wide MAC address set on the first network."""
    if not config.mac_address or networking.shares_network(host):
        return endpoints
    network = next(iter(endpoints), networking.mode(host))
    settings = endpoints.get(network, EndpointSettings())
    mac_address = settings.mac_address or config.mac_address
    return {**endpoints, network: msgspec.structs.replace(settings, mac_address=mac_address)}


def _warnings(record: ContainerRecord) -> list[str]:
    warnings = []
    if networking.mode(record.host) == "host" and record.host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    if record.config.mac_address:
        warnings.append(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
        )
    return warnings
