"""Prepares the sources of RUN's mounts: folders and files of the daemon that are mounted into the container."""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from netd.common import folders
from netd.common.errors import BadRequest
from runtime.build.dockerfile.faults import shortened
from runtime.build.execute import origins
from runtime.build.execute.blocking import in_thread
from runtime.build.execute.build_session import StepContext
from runtime.build.execute.origins import Origin
from runtime.build.execute.stage_state import StageState
from runtime.build.files import roots, source_selection, tree_copy
from runtime.build.files.source_selection import NotInTree, Source
from runtime.build.files.tree_copy import CopyOptions
from runtime.build.plan.run_mounts import RunMount
from runtime.container_config import Mount, TmpfsOptions
from runtime.kernel import openat


@dataclass(slots=True)
class MountSources:
    """Mounts for the container, environment variables with secrets, and what the cache key says of all mounts.

    ``prepare`` is called only if the step is carried out.
    """

    mounts: list[Mount] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    _context: StepContext | None = None
    _wanted: list[tuple[RunMount, Origin | None]] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def prepare(self) -> None:
        """Create the sources.  Raises a Problem if one is missing."""
        assert self._context is not None
        for mount, origin in self._wanted:
            preparation = _Preparation(self._context, self, self._stack)
            await preparation.add(mount, origin)


@asynccontextmanager
async def open_sources(
    context: StepContext, state: StageState, mounts: Sequence[RunMount]
) -> AsyncIterator[MountSources]:
    """Yield the sources of *mounts*, of which only the keys are known until ``prepare`` is called."""
    async with AsyncExitStack() as stack:
        sources = MountSources(_context=context, _stack=stack)
        for mount in mounts:
            origin = await origins.find(context, mount.origin) if mount.origin else None
            sources.keys.append(await _key(context, mount, origin))
            sources._wanted.append((mount, origin))
        yield sources


async def _key(context: StepContext, mount: RunMount, origin: Origin | None) -> str:
    """Return what the cache key says of a mount: bind mounts count by content, secrets and caches by name."""
    common = f"{mount.kind} {mount.target} {mount.id if mount.kind in ('cache', 'secret') else ''} {mount.variable}"
    if mount.kind != "bind":
        return common
    if origin is not None:
        return f"{common} {origin.key} {mount.source}"
    source = _select(context.session.context.root, mount.source, in_context=True)
    return f"{common} {await in_thread(context.session.context.digest, source, (), ())}"


def _select(root: int, text: str, *, in_context: bool) -> Source:
    try:
        return source_selection.single(root, text, in_context=in_context)
    except NotInTree as error:
        raise BadRequest(f"RUN failed: {error.message}") from None


class _Preparation:
    def __init__(self, context: StepContext, sources: MountSources, stack: AsyncExitStack) -> None:
        self._session = context.session
        self._sources = sources
        self._stack = stack

    async def add(self, mount: RunMount, origin: Origin | None) -> None:
        if mount.kind == "tmpfs":
            options = TmpfsOptions(size_bytes=mount.size)
            self._sources.mounts.append(Mount(type="tmpfs", target=mount.target, tmpfs_options=options))
        elif mount.kind == "secret":
            await self._secret(mount)
        elif mount.kind == "cache":
            await self._cache(mount, origin)
        else:
            self._bind(mount, await self._bind_source(mount, origin))

    def _bind(self, mount: RunMount, source: str, *, read_only: bool | None = None) -> None:
        read_only = not mount.writable if read_only is None else read_only
        self._sources.mounts.append(Mount(type="bind", source=source, target=mount.target, read_only=read_only))

    async def _bind_source(self, mount: RunMount, origin: Origin | None) -> str:
        """Return the host's path of a bind mount's source: the context itself, or a copy if it is written to."""
        if origin is None and not mount.writable:
            return self._session.context.resolved(mount.source)
        return await in_thread(self._copied, mount, origin)

    def _copied(self, mount: RunMount, origin: Origin | None) -> str:
        folder = self._session.folder / f"mount-{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700)
        self._stack.callback(self._session.services.deferred_delete.discard, folder)
        target = openat.open_tree_root(folder)
        try:
            with roots.of_origin(origin.folders if origin else None, self._session.context.root) as root:
                source = _select(root, mount.source, in_context=origin is None)
                tree_copy.copy(root, source, target, "/content", CopyOptions())
        finally:
            os.close(target)
        return str(folder / "content")

    async def _cache(self, mount: RunMount, origin: Origin | None) -> None:
        path, new = await self._stack.enter_async_context(self._session.services.cache_mounts.folder(mount))
        if new and (origin is not None or mount.source):
            await in_thread(self._fill, path, mount, origin)
        self._bind(mount, str(path))

    def _fill(self, path: Path, mount: RunMount, origin: Origin | None) -> None:
        target = openat.open_tree_root(path)
        try:
            with roots.of_origin(origin.folders if origin else None, self._session.context.root) as root:
                source = _select(root, mount.source, in_context=origin is None)
                tree_copy.copy(root, source, target, "/" if source.is_folder else f"/{source.name}", CopyOptions())
        finally:
            os.close(target)

    async def _secret(self, mount: RunMount) -> None:
        content = self._session.request.secrets.get(mount.id)
        if content is None:
            if mount.required:
                raise BadRequest(f"secret {shortened(mount.id)}: not found: give it with netctl build --secret")
            return
        if mount.variable:
            self._sources.environment[mount.variable] = content.decode(errors="surrogateescape")
        if mount.target:
            self._bind(mount, await in_thread(self._write_secret, mount, content), read_only=True)

    def _write_secret(self, mount: RunMount, content: bytes) -> str:
        """Write a secret below RUN, which is in memory on most hosts; it is deleted when the step has ended."""
        above = self._session.services.paths.run / "build-secrets"
        folders.make(above, folders.PRIVATE)
        name = uuid.uuid4().hex
        folder = openat.open_tree_root(above)
        try:
            handle = openat.create(folder, name)
            try:
                openat.write(handle, content)
                os.fchown(handle, mount.uid, mount.gid)
                os.fchmod(handle, mount.mode)
            finally:
                os.close(handle)
        finally:
            os.close(folder)
        path = posixpath.join(str(above), name)
        self._stack.callback(self._session.services.deferred_delete.delete_now, above / name)
        return path
