"""Opens the files of a container, running or not, as one detached tree of mounts that only the daemon sees.

A running container's root is a copy of its own mount, so both see the same; the root of any other is mounted anew by
its storage driver.  Volumes and binds are mounted in it as in the container; its tmpfs, /proc, /dev and mounts that
its processes have made are not, as in Docker.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from netd.common.errors import NotFound, ServerError
from netd.common.ids import ZERO_TIME
from runtime.container_config import joined_container
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.options import runtime_spec
from runtime.init import mount_sources, mounts
from runtime.kernel import linux, openat
from runtime.paths import ContainerPaths, Paths
from runtime.record import ContainerRecord
from runtime.spec import MountSpec
from runtime.storage import detached, runtime_files
from runtime.storage.drivers.selection import StorageDrivers


@dataclass(frozen=True, slots=True)
class OpenRoot:
    """``handle`` is the root, to be closed; ``first_id`` is the id, in it, of the container's user and group 0."""

    handle: int
    first_id: int = 0
    live: bool = False
    """Whether it is the root of a process."""

    def close(self) -> None:
        os.close(self.handle)


class ContainerRoots:
    def __init__(self, containers: Containers, drivers: StorageDrivers, paths: Paths) -> None:
        self._containers = containers
        self._drivers = drivers
        self._paths = paths

    def open(self, container: Container, *, writable: bool = False, with_mounts: bool = True) -> OpenRoot:
        """Blocking.  *writable* matters only without a process: then the caller holds the container's lock."""
        record = container.record
        running = container.running
        if running is not None:
            try:
                return self._of_process(running.pid, record, with_mounts)
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended, and its exit is about to be handled
        root = self._of_driver(record, writable)
        return OpenRoot(self._with_mounts(root, self._binds(record), create=writable) if with_mounts else root)

    def lacks_targets(self, container: Container) -> bool:
        """Return whether directories may be missing on which the first start of the container will mount."""
        return container.running is None and container.record.state.started_at == ZERO_TIME

    def create_targets(self, container: Container) -> None:
        """Create these directories; blocking.  The caller holds the container's lock."""
        if self.lacks_targets(container):
            self.open(container, writable=True).close()

    def _of_process(self, pid: int, record: ContainerRecord, with_mounts: bool) -> OpenRoot:
        if record.userns:
            return OpenRoot(_in_user_namespace(pid, record), record.userns.first, live=True)
        root = detached.root_of_process(pid)
        if with_mounts:
            root = self._with_mounts(root, self._binds(record), create=False)
        return OpenRoot(root, live=True)

    def _of_driver(self, record: ContainerRecord, writable: bool) -> int:
        layers = self._paths.layer_folders(record.layers)
        try:
            return self._drivers.of(record.driver).open(self._paths.container(record.id), layers, writable=writable)
        except FileNotFoundError:
            raise ServerError(f"the layers of image {record.config.image} are gone: import the image again") from None

    def _binds(self, record: ContainerRecord) -> list[MountSpec]:
        return [mount for mount in runtime_spec.mounts(record, self._files(record)) if mount.kind != "tmpfs"]

    def _files(self, record: ContainerRecord) -> ContainerPaths:
        """Return the paths of its files of /etc: its own, or those of the container whose network it shares."""
        seen = {record.id}
        while name := joined_container(record.host.network_mode):
            try:
                record = self._containers.find(name).record
            except NotFound:
                break
            if record.id in seen:
                break
            seen.add(record.id)
        return self._paths.container(record.id)

    def _with_mounts(self, root: int, binds: Sequence[MountSpec], *, create: bool) -> int:
        """Return a copy of *root*, which is closed, with *binds*; targets are created if missing, with *create*."""

        def attach_all() -> int:
            linux.move_mount(root, linux.AT_FDCWD, "/")
            for bind in binds:
                _attach(root, bind, create)
            return linux.open_tree(root, "")

        try:
            return detached.in_private_namespace(attach_all)
        finally:
            os.close(root)


def _attach(root: int, bind: MountSpec, create: bool) -> None:
    """Mount a bind, unless its source is gone or it has no target: the container could not start with it either."""
    try:
        tree = mount_sources.open_source(bind)
    except OSError:
        return
    try:
        target = _target(root, bind, stat.S_ISDIR(os.fstat(tree).st_mode), create)
    except OSError:
        os.close(tree)
        return
    try:
        mounts.attach(tree, target)
    except NotADirectoryError:
        return
    finally:
        os.close(target)


def _target(root: int, bind: MountSpec, is_directory: bool, create: bool) -> int:
    if create:
        return (mounts.directory_in if is_directory else mounts.file_in)(root, bind.target)
    return openat.open_in(root, os.fsencode(bind.target), os.O_PATH | os.O_CLOEXEC)


def _in_user_namespace(pid: int, record: ContainerRecord) -> int:
    """Return the root of a container with a user namespace, with its own mounts, and what Docker hides covered.

    Single mounts of such a namespace cannot be copied or unmounted: the kernel keeps covered files covered.
    """
    hidden = (*runtime_files.SYSTEM_FOLDERS, *map(os.fsencode, record.tmpfs))
    root = detached.root_of_process(pid, recursive=True)

    def cover_all() -> int:
        linux.move_mount(root, linux.AT_FDCWD, "/")
        for path in hidden:
            with suppress(OSError):
                target = openat.open_in(root, path, openat.PARENT)
                try:
                    mounts.attach(mounts.filesystem("tmpfs", linux.ATTR_RDONLY), target)
                finally:
                    os.close(target)
        return linux.open_tree(root, "")

    try:
        return detached.in_private_namespace(cover_all)
    finally:
        os.close(root)
