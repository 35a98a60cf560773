"""Archives of files in containers: what ``cp`` and ``export`` read and write, and the list of changes.

A container without process is locked while files are written to it, because a second mount of its root would not be
coherent with that of a start.  Reading needs no lock.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from netd.common.errors import BadRequest, NoSpace, RequestTimeout
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.files import container_paths
from runtime.engine.files.container_paths import ContainerPath
from runtime.engine.files.container_root import ContainerRoots, OpenRoot
from runtime.engine.files.thread_streams import FromThread, ToThread
from runtime.images.decompress import Inflated
from runtime.images.extract import ExtractOptions, extract
from runtime.images.tar_writer import TreeWriter
from runtime.images.tarstream import TarStream
from runtime.init import users
from runtime.kernel import linux, openat
from runtime.kernel.sorted_tree import Found
from runtime.paths import Paths
from runtime.record import ContainerRecord
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.root_changes import Change
from runtime.storage.volumes import Volumes

_STALL_SECONDS = 60.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    own_user: bool = False
    """Give all files to the user of the container, if it has one, not to the owners in the archive."""
    keep_kinds: bool = False
    """Refuse to replace a directory by another file, or another file by a directory."""


class ContainerArchives:
    def __init__(
        self,
        containers: Containers,
        roots: ContainerRoots,
        drivers: StorageDrivers,
        paths: Paths,
        volumes: Volumes,
    ) -> None:
        self._volumes = volumes
        self._containers = containers
        self._roots = roots
        self._drivers = drivers
        self._paths = paths

    async def describe(self, container: Container, given: str, shown: str) -> dict[str, Any]:
        """Return what is known of the file *given*.  *shown* is the container's name in messages.

        Raises NotFound, or BadRequest for a path through a file that is no directory.
        """
        path = container_paths.parse(given)
        await self._create_targets(container)

        root = await self._open(container)
        try:
            return await asyncio.to_thread(_describe, root.handle, path, shown)
        finally:
            root.close()

    async def read(self, container: Container, given: str, shown: str) -> tuple[dict[str, Any], FromThread]:
        """Return the description of the file *given*, and a tar archive of it, to be closed.

        Raises as :meth:`describe` does.
        """
        path = container_paths.parse(given)
        await self._create_targets(container)
        root = await self._open(container)
        try:
            description = await asyncio.to_thread(_describe, root.handle, path, shown)
        except BaseException:
            root.close()
            raise
        self._containers.publish_event(container, "archive-path")
        return description, _stream(root, lambda writer: _write_path(writer, root.handle, path))

    async def export(self, container: Container) -> FromThread:
        """Return a tar archive of the container's root, without volumes and other mounts; to be closed."""
        root = await asyncio.to_thread(lambda: self._roots.open(container, with_mounts=False))
        self._containers.publish_event(container, "export")
        return _stream(root, lambda writer: writer.tree(root.handle))

    async def changes(self, container: Container) -> list[Change]:
        """Return the changes from the image to the container's root."""
        record = container.record
        own, layers = self._paths.container(record.id), self._paths.layer_folders(record.layers)
        return await asyncio.to_thread(self._drivers.of(record.driver).changes, own, layers)

    async def write(
        self, container: Container, given: str, shown: str, archive: AsyncIterator[bytes], options: WriteOptions
    ) -> None:
        """Extract a tar archive, which may be compressed, into the directory *given*.

        Raises NotFound, BadRequest, or NoSpace; what was extracted before stays.
        """
        path = container_paths.parse(given)
        async with AsyncExitStack() as stack, AsyncExitStack() as locked:
            await locked.enter_async_context(container.lock)
            root = await self._open(container, writable=True)
            stack.callback(root.close)
            if root.live:
                await locked.aclose()
            target = await asyncio.to_thread(_open_target, root, path, container.record, shown)
            stack.callback(os.close, target)
            own_user = options.own_user and container.record.config.user != ""
            owner = await asyncio.to_thread(_owner, root, container.record) if own_user else None
            chosen = ExtractOptions(path=path.clean, owner=owner, first_id=root.first_id, keep_kinds=options.keep_kinds)
            with _write_errors(path):
                await ToThread().run(_without_stalls(archive), lambda source: _extract(source, target, chosen))
        self._containers.publish_event(container, "extract-to-dir")

    async def _open(self, container: Container, *, writable: bool = False) -> OpenRoot:
        """Open the root with all mounts; what the options of volumes name is mounted meanwhile."""
        async with AsyncExitStack() as mounted:
            for point in container.record.mounts:
                if point.type == "volume":
                    await self._volumes.mount(point.name)
                    users = partial(self._containers.running_with_volume, point.name)
                    mounted.push_async_callback(self._volumes.unmount, point.name, users)
            return await asyncio.to_thread(lambda: self._roots.open(container, writable=writable))

    async def _create_targets(self, container: Container) -> None:
        if self._roots.lacks_targets(container):
            async with container.lock:
                await asyncio.to_thread(self._roots.create_targets, container)


async def _without_stalls(archive: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Raise RequestTimeout if the client sends nothing for a minute: the container may be locked meanwhile."""
    while True:
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                data = await anext(archive, None)
        except TimeoutError:
            raise RequestTimeout(
                f"the archive was not received: no data for {_STALL_SECONDS:g} seconds; send it again"
            ) from None
        if data is None:
            return
        yield data


def _describe(root: int, path: ContainerPath, shown: str) -> dict[str, Any]:
    handle, status = container_paths.open_path(root, path, shown)
    os.close(handle)
    return container_paths.describe(root, path, status)


def _stream(root: OpenRoot, produce: Callable[[TreeWriter], None]) -> FromThread:
    """Return the archive that *produce* writes, with its end; *root* is closed afterwards."""

    def write(sink: FromThread) -> None:
        try:
            writer = TreeWriter(sink, first_id=root.first_id)
            produce(writer)
            writer.end()
        finally:
            root.close()

    stream = FromThread()
    stream.start(write)
    return stream


def _write_path(writer: TreeWriter, root: int, path: ContainerPath) -> None:
    """Write the file *path*, or the directory with its content, under the name ``path.name``."""
    handle, status = container_paths.open_path(root, path, "")
    try:
        name = os.fsencode(path.name)
        if not stat.S_ISDIR(status.st_mode):
            folder = openat.open_in(root, os.fsencode(os.path.dirname(path.clean)), openat.PARENT)
            try:
                writer.file(Found(name, folder, name, status), name)
            finally:
                os.close(folder)
            return
        folder = openat.open_folder(handle, b".")
        try:
            writer.folder(folder, name)
            writer.tree(folder, name.rstrip(b"/") + b"/", mounts=True)
        finally:
            os.close(folder)
    finally:
        os.close(handle)


def _open_target(root: OpenRoot, path: ContainerPath, record: ContainerRecord, shown: str) -> int:
    """Open the directory to extract into, following a link.  Raises BadRequest if it is none, or read-only."""
    try:
        handle = openat.open_in(root.handle, os.fsencode(path.clean), os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise container_paths.problem(error, path, shown) from None
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            raise BadRequest("extraction point is not a directory")
        _check_writable(container_paths.link_target(root.handle, path.clean), record)
        return openat.open_folder(handle, b".")
    finally:
        os.close(handle)


def _check_writable(path: str, record: ContainerRecord) -> None:
    around = [
        point
        for point in record.mounts
        if point.type != "tmpfs" and (path == point.destination or path.startswith(point.destination + "/"))
    ]
    if around and not max(around, key=lambda point: len(point.destination)).rw:
        raise BadRequest("mounted volume is marked read-only")
    if not around and record.host.readonly_rootfs:
        raise BadRequest("container rootfs is marked read-only")


def _owner(root: OpenRoot, record: ContainerRecord) -> tuple[int, int]:
    try:
        identity = users.lookup(record.config.user, (), root.handle)
    except users.UnknownUser as error:
        raise BadRequest(str(error)) from None
    return identity.uid, identity.gid


def _extract(source: ToThread, target: int, options: ExtractOptions) -> None:
    """Extract in a thread of its own, whose credentials may be changed."""
    if options.first_id:
        linux.set_file_owner(options.first_id)
    extract(TarStream(Inflated(source, digest=False)), target, options)


@contextmanager
def _write_errors(path: ContainerPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(f"no space left on device: {path.clean} in the container is on a full disk") from None
        raise BadRequest(f"cannot write to {path.clean} in the container: {error.strerror}") from None
