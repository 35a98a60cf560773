"""RUN: a container of the engine runs the command, and what it changed becomes a layer."""

from __future__ import annotations

import asyncio
import codecs
import re
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import msgspec

from netd.common.errors import Problem
from runtime.build.dockerfile import words
from runtime.build.dockerfile.faults import DockerfileError
from runtime.build.dockerfile.here_documents import HereDocument
from runtime.build.dockerfile.instructions import Run
from runtime.build.execute import run_mount_sources, step_results
from runtime.build.execute.blocking import finished, in_thread
from runtime.build.execute.build_output import StageOutput
from runtime.build.execute.build_request import StepFailed
from runtime.build.execute.build_session import StepContext
from runtime.build.execute.run_mount_sources import MountSources
from runtime.build.execute.stage_state import StageState
from runtime.build.execute.step_results import BuildStep
from runtime.build.files import mount_points
from runtime.build.plan import cache_keys, config_changes, run_mounts
from runtime.build.plan.run_mounts import RunMount
from runtime.container_config import CreateRequest, Healthcheck, HostConfig, LogConfig
from runtime.engine.containers.container import Container, PendingAttachment
from runtime.images.layers import Layer
from runtime.shim_client.supervisor import Attachment, Running
from runtime.spec import StreamLost


async def run(context: StepContext, state: StageState, instruction: Run) -> StageState:
    """Return the state after RUN.  Raises StepFailed with Docker's message and the exit code."""
    argv = command_line(instruction, state)
    visible = state.variables.visible_arguments()
    mounts = _mounts(context, state, instruction)
    network = instruction.network if instruction.network != "default" else ""
    async with AsyncExitStack() as stack:
        sources = await stack.enter_async_context(run_mount_sources.open_sources(context, state, mounts))
        key = cache_keys.run_key(state.key, argv, visible, mounts=sources.keys, network=network)
        prefix = f"|{len(visible)} {' '.join(f'{name}={value}' for name, value in visible.items())} " if visible else ""
        step = BuildStep(key=key, created_by=prefix + " ".join(argv))
        produce = partial(_Run(context, state, argv, network, sources).run)
        return await step_results.result(context, state, step, produce)


def command_line(instruction: Run, state: StageState) -> list[str]:
    """Return the arguments of the program that a RUN starts."""
    documents = instruction.here_documents
    command = instruction.command
    if not documents or not command.shell:
        return config_changes.command_words(command, state.config)
    shell = config_changes.shell_of(state.config)
    (text,) = command.words
    if len(documents) == 1 and _is_only_mark(text):
        return [*shell, _script(documents[0])]
    return [*shell, text + "".join(f"\n{document.content}{document.name}" for document in documents)]


def _is_only_mark(text: str) -> bool:
    """Return whether the command is a here-document and nothing else, which is then the script itself."""
    return re.fullmatch(r"<<-?[ \t]*\S+", text, re.ASCII) is not None


def _script(document: HereDocument) -> str:
    """Return the script that a here-document is; one with an interpreter line is passed to that interpreter."""
    text = document.text
    first, _, rest = text.partition("\n")
    if not first.startswith("#!"):
        return text
    mark = "NETD_SCRIPT"
    while f"\n{mark}\n" in rest:
        mark += "_"
    # The interpreter reads the script from a descriptor that the shell opens for it.
    return f"exec {first[2:].strip()} /dev/fd/3 3<<'{mark}'\n{rest}{mark}\n"


def _mounts(context: StepContext, state: StageState, instruction: Run) -> list[RunMount]:
    variables = state.variables.all()
    escape = context.session.dockerfile.escape

    def expand(text: str) -> str:
        return words.expand(text, variables, escape)

    try:
        return [run_mounts.parse(text, state.config.working_dir or "/", expand) for text in instruction.mounts]
    except DockerfileError as error:
        raise DockerfileError(error.fault, instruction.line) from None


class _Run:
    def __init__(
        self, context: StepContext, state: StageState, argv: list[str], network: str, sources: MountSources
    ) -> None:
        self._context = context
        self._services = context.session.services
        self._state = state
        self._argv = argv
        self._network = network
        self._sources = sources
        self._container: Container | None = None

    async def run(self) -> Layer | None:
        await self._sources.prepare()
        layer: Layer | None = None
        try:
            container = await finished(self._create())
            await self._context.output.text(f" ---> Running in {container.record.short_id}\n")
            code = await self._execute(container)
            if code:
                shown = " ".join(self._argv)
                raise StepFailed(f"The command '{shown}' returned a non-zero code: {code}", status=500, code=code)
            layer = await self._layer(container)
        finally:
            if self._container is not None:
                try:
                    await finished(self._remove(self._container))
                except BaseException:
                    step_results.discard(self._context, layer)
                    raise
        return layer

    async def _create(self) -> Container:
        """Create the container; a cancelled build removes it also if the creation ended after the cancellation."""
        image = self._state.record_for_containers()
        self._container, _ = await self._services.creator.create(self._request(), "", unfinished=image)
        return self._container

    def _request(self) -> CreateRequest:
        state, session = self._state, self._context.session
        environment = {**session.arguments.predefined(), **state.arguments, **state.variables.environment}
        environment |= self._sources.environment
        host: HostConfig = msgspec.structs.replace(
            session.request.host,
            mounts=list(self._sources.mounts) or None,
            log_config=LogConfig(type="none"),
        )
        if self._network:
            host = msgspec.structs.replace(host, network_mode=self._network)
        return CreateRequest(
            image=state.id,
            cmd=self._argv,
            entrypoint=[],
            env=[f"{name}={value}" for name, value in environment.items()],
            user=state.config.user or "",
            working_dir=state.config.working_dir or "",
            healthcheck=Healthcheck(test=["NONE"]),
            host_config=host,
        )

    async def _execute(self, container: Container) -> int:
        attached: asyncio.Future[Attachment | None] = asyncio.get_running_loop().create_future()
        container.pending_attachments.append(PendingAttachment(_connect, attached))
        exited = container.exit_waiters.add()
        await finished(self._services.lifecycle.start(container))
        streams = attached.result() if attached.done() else None
        if streams is not None:
            try:
                await _copy_output(streams, self._context.output)
            finally:
                await streams.close()
        return await exited

    async def _layer(self, container: Container) -> Layer | None:
        """Make a layer of what the program changed.  The container is removed after that."""
        own = self._services.paths.container(container.id)
        layers = self._services.layers.folders(self._state.layers)
        targets = [mount.target for mount in self._sources.mounts]
        scratch = self._context.session.folder / f"run-{container.id}"
        driver = self._services.drivers.of(container.record.driver)

        def upper() -> Path:
            changed = driver.upper(own, layers[::-1], scratch)
            mount_points.remove(changed, layers, targets)
            return changed

        return await step_results.layer_of(self._context, self._state, await in_thread(upper))

    async def _remove(self, container: Container) -> None:
        short = container.record.short_id
        with suppress(Problem):
            await self._services.control.remove(container, force=True, volumes=True)
        with suppress(ConnectionError):
            await self._context.output.text(f" ---> Removed intermediate container {short}\n")


async def _connect(running: Running) -> Attachment:
    return await running.attach(stdin=False)


async def _copy_output(streams: Attachment, output: StageOutput) -> None:
    """Send what the program writes; characters that are cut in two parts are joined."""
    decoders = {number: codecs.getincrementaldecoder("utf-8")("replace") for number in (1, 2)}
    try:
        async for stream, data in streams:
            if text := decoders[stream].decode(data):
                await output.text(text)
        for decoder in decoders.values():
            if text := decoder.decode(b"", final=True):
                await output.text(text)
    except StreamLost as lost:
        await output.text(f"{lost}\n")
