"""Builds images: reads the context and the Dockerfile, builds the needed stages side by side, and names the result."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from netd.common.errors import NoSpace, Problem
from netd.common.events import Bus, event
from netd.common.tasks import start_awaited
from runtime.build.dockerfile import document
from runtime.build.dockerfile.instructions import Assignments, Instruction
from runtime.build.execute.blocking import in_thread
from runtime.build.execute.build_cache import CachedStep
from runtime.build.execute.build_output import BuildOutput, Send
from runtime.build.execute.build_request import BuildRequest, StepFailed
from runtime.build.execute.build_session import BuildSession, Services, StepContext
from runtime.build.execute.prune_selection import PruneSelection, is_shared
from runtime.build.execute.stage_builder import StageBuilder
from runtime.build.execute.stage_state import StageState
from runtime.build.files.build_context import BuildContext
from runtime.build.plan import stage_graph
from runtime.build.plan.stage_graph import StagePlan
from runtime.build.plan.variables import Arguments
from runtime.images import compatibility
from runtime.images.image_config import ImageRecord

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PreparedBuild:
    """A build whose Dockerfile is valid; :meth:`run` carries it out, and :meth:`close` deletes all that it left."""

    session: BuildSession
    plan: StagePlan
    bus: Bus
    stack: AsyncExitStack

    async def close(self) -> None:
        await self.stack.aclose()

    async def run(self, send: Send) -> ImageRecord:
        """Build, send the messages of the classic builder, and return the image.

        Raises StepFailed; if the task is cancelled, all containers of the build are removed first.
        """
        session, request = self.session, self.session.request
        output = BuildOutput(send, len(self.plan.stages), quiet=request.quiet)
        for note in session.dockerfile.notes:
            await output.text(f"[Warning] {note}\n")
        for number, argument in enumerate(session.dockerfile.arguments, 1):
            await output.text(f"Step {number}/{self.plan.steps} : {argument.text}")
            await output.text("\n")
        await output.begin()
        state = await self._stages(output)
        image = await self._record(state)
        await self._report(output, image)
        return image

    async def _stages(self, output: BuildOutput) -> StageState:
        """Build all needed stages; the first failure cancels the others."""
        session = self.session
        for position, planned in enumerate(self.plan.stages):
            index = planned.stage.index
            context = StepContext(session=session, output=output.stages[position], stage_index=index)
            builder = StageBuilder(session, planned, context, self.plan.steps)
            more = self._labels() if index == self.plan.target else ()
            session.stages[index] = start_awaited(_finished(builder, more, output))
        tasks = list(session.stages.values())
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        failures = [task.exception() for task in tasks if task in done and not task.cancelled() and task.exception()]
        if failures:
            for stage in output.stages:
                await stage.open()
            raise failures[0] or StepFailed("the build failed", status=500)
        return session.stages[self.plan.target].result()

    def _labels(self) -> tuple[Instruction, ...]:
        labels = self.session.request.labels
        return tuple(_label(name, value) for name, value in sorted(labels.items()))

    async def _record(self, state: StageState) -> ImageRecord:
        session = self.session
        if not state.layers and not state.document.history:
            raise StepFailed("No image was generated. Is your Dockerfile empty?", status=400)
        names = session.request.tags
        image = await session.services.images.add_image(state.text, names)
        for name in names:
            self.bus.publish(event("image", "tag", image.id, {"name": name.short}))
        return image

    async def _report(self, output: BuildOutput, image: ImageRecord) -> None:
        if self.session.request.quiet:
            await output.result({"stream": f"{image.id}\n"})
            return
        await output.result({"aux": {"ID": image.id}})
        if unused := self.session.arguments.unused():
            await output.text(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n")
        await output.text(f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n")
        for name in self.session.request.tags:
            await output.text(f"Successfully tagged {name.short}\n")


def _label(name: str, value: str) -> Assignments:
    quoted = {text: "'" + text.replace("'", "'\"'\"'") + "'" for text in (name, value)}
    return Assignments(keyword="LABEL", line=0, text=f"LABEL {name}={value}", pairs=((quoted[name], quoted[value]),))


async def _finished(builder: StageBuilder, more: tuple[Instruction, ...], output: BuildOutput) -> StageState:
    state = await builder.build(more)
    await output.finish(builder.context.output)
    return state


class Builder:
    """The entry of builds.  Builds run side by side."""

    def __init__(self, services: Services, bus: Bus) -> None:
        self.services = services
        self._bus = bus
        self._running: dict[str, asyncio.Task[object]] = {}

    async def prepare(self, request: BuildRequest, archive: AsyncIterator[bytes]) -> PreparedBuild:
        """Receive and unpack the context, and plan the build.  Raises BadRequest or NoSpace, and leaves nothing."""
        services = self.services
        async with AsyncExitStack() as stack:
            folder = services.deferred_delete.scratch_path("build")
            folder.mkdir(mode=0o700)
            stack.callback(services.deferred_delete.delete, folder)
            context = await self._receive(folder, archive, stack)
            name = request.dockerfile
            dockerfile = await in_thread(lambda: document.parse(context.read_dockerfile(name), name))
            await in_thread(context.apply_ignore_file, name)
            arguments = Arguments(request.arguments, compatibility.host().architecture)
            arguments.declare_before_from(dockerfile.arguments, dockerfile.escape)
            plan = stage_graph.plan(dockerfile, request.target, arguments.for_from(), extra_steps=len(request.labels))
            lease = services.images.new_lease()
            stack.push_async_callback(services.images.release, lease)
            session = BuildSession(
                services=services,
                request=request,
                dockerfile=dockerfile,
                arguments=arguments,
                context=context,
                folder=folder,
                lease=lease,
            )
            return PreparedBuild(session, plan, self._bus, stack.pop_all())
        raise AssertionError("unreachable")

    async def _receive(self, folder: Path, archive: AsyncIterator[bytes], stack: AsyncExitStack) -> BuildContext:
        spool = folder / "context.tar"
        (folder / "context").mkdir(mode=0o755)
        context = BuildContext(folder / "context")
        stack.callback(context.close)
        try:
            with spool.open("xb") as file:
                async for chunk in archive:
                    await in_thread(file.write, chunk)
            with spool.open("rb") as file:
                await in_thread(context.load, file)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"the disk of {folder.parent} is full: free some space and try again") from error
            raise
        spool.unlink()
        return context

    @contextmanager
    def cancellable(self, identifier: str) -> Iterator[None]:
        """Let :meth:`cancel` cancel the current task under *identifier*, inside the block."""
        task = asyncio.current_task()
        if not identifier or task is None:
            yield
            return
        self._running[identifier] = task
        try:
            yield
        finally:
            self._running.pop(identifier, None)

    def cancel(self, identifier: str) -> None:
        """Cancel the build that a client has named so; do nothing if there is none, as Docker does."""
        if (task := self._running.get(identifier)) is not None:
            task.cancel()

    async def prune(self, selection: PruneSelection) -> tuple[list[CachedStep], int]:
        """Drop the selected cache entries, and the cache mounts if nothing limits the selection.

        Return the entries and the freed bytes.
        """
        services = self.services
        in_images = {chain for image in services.images.all() for chain in image.layers}
        chosen = {step.key for step in selection.chosen(services.cache.all(), in_images)}
        dropped = await services.cache.prune(lambda step: step.key in chosen)
        freed = sum(step.size for step in dropped if not is_shared(step, in_images))
        if selection.is_everything:
            freed += await services.cache_mounts.prune()
        self._bus.publish(event("builder", "prune", "", {"reclaimed": str(freed)}))
        return dropped, freed

    async def sweep(self) -> None:
        """Remove the containers of builds that an earlier daemon did not end."""
        for container in self.services.containers.all():
            if container.record.build:
                with suppress(Problem):
                    await self.services.control.remove(container, force=True, volumes=True)
