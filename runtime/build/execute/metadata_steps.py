"""Steps that change the configuration: ENV, LABEL, CMD and others; WORKDIR also creates its folder."""

from __future__ import annotations

import os
import uuid

from runtime import signal_numbers
from runtime.build.dockerfile.instructions import (
    Arg,
    Assignments,
    HealthcheckInstruction,
    OnBuild,
    Program,
    Word,
    Words,
)
from runtime.build.execute import step_results
from runtime.build.execute.blocking import in_thread
from runtime.build.execute.build_session import StepContext
from runtime.build.execute.stage_state import StageState, no_operation
from runtime.build.execute.step_results import BuildStep
from runtime.build.files import roots, tree_copy
from runtime.build.plan import cache_keys, config_changes, variables
from runtime.images.layers import Layer

Metadata = Assignments | HealthcheckInstruction | OnBuild | Program | Word | Words


async def run(context: StepContext, state: StageState, instruction: Metadata) -> StageState:
    """Return the state after a metadata instruction.  Raises Problems with Docker's messages."""
    escape = context.session.dockerfile.escape
    before = state.settings
    after = config_changes.apply(before, instruction, state.variables.all(), escape)
    if instruction.keyword == "STOPSIGNAL":
        signal_numbers.number(after.config.stop_signal or "")
    text = no_operation(_shown(instruction, after.config.working_dir or ""))
    key = cache_keys.metadata_key(state.key, instruction.keyword, before.config, after.config, f"{text}{after.author}")
    step = BuildStep(key=key, created_by=text, settings=after)
    if instruction.keyword != "WORKDIR":
        return await step_results.result(context, state, step)
    path = after.config.working_dir or "/"
    return await step_results.result(context, state, step, lambda: _make_workdir(context, state, path))


def _shown(instruction: Metadata, workdir: str) -> str:
    return f"WORKDIR {workdir}" if instruction.keyword == "WORKDIR" else instruction.text


async def _make_workdir(context: StepContext, state: StageState, path: str) -> Layer | None:
    """Create the working directory if the image has none; None if nothing is to be created."""
    layers = context.session.services.layers.folders(state.layers)
    folder = context.session.folder / f"workdir-{uuid.uuid4().hex}"

    def make() -> bool:
        if layers:
            with roots.readable(layers) as root:
                if tree_copy.is_folder(root, path):
                    return False
        with roots.writable(layers, folder) as root:
            os.close(tree_copy.make_folders(root, path, tree_copy.CopyOptions()))
        return True

    if not await in_thread(make):
        return None
    return await step_results.layer_of(context, state, folder / "upper")


async def declare(context: StepContext, state: StageState, instruction: Arg) -> StageState:
    """Return the state after ARG, which changes no image."""
    session = context.session
    declared = variables.declare(state.variables, instruction, session.arguments, session.dockerfile.escape)
    text = no_operation(instruction.text)
    key = cache_keys.arg_key(state.key, text)
    after = await step_results.result(context, state, BuildStep(key=key, created_by=text))
    return after.with_arguments(declared.arguments)
