"""Builds one stage: its base, its instructions in order, and the ONBUILD triggers of its base."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from netd.common import resource_errors
from netd.common.errors import Problem
from runtime.build.dockerfile import document, words
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.instructions import Arg, Copy, Instruction, Run
from runtime.build.execute import base_images, copy_steps, metadata_steps, run_steps, stage_state
from runtime.build.execute.build_request import StepFailed
from runtime.build.execute.build_session import BuildSession, StepContext
from runtime.build.execute.stage_state import StageState
from runtime.build.plan import cache_keys
from runtime.build.plan.stage_graph import PlannedStage

_SCRATCH = "scratch"


@dataclass(slots=True)
class StageBuilder:
    session: BuildSession
    planned: PlannedStage
    context: StepContext
    steps: int
    """The number of steps of the build."""

    async def build(self, more: tuple[Instruction, ...] = ()) -> StageState:
        """Return the state after the stage's instructions and *more*.  Raises StepFailed that names the step."""
        number = self.planned.first_step
        state = await self._step(self.planned.stage.base, number, self._base)
        for instruction in (*self.planned.stage.instructions, *more):
            number += 1
            state = await self._step(instruction, number, partial(self._carry_out, state, instruction))
        return state

    async def _step(
        self, instruction: Instruction, number: int, carry_out: Callable[[], Awaitable[StageState]]
    ) -> StageState:
        """Announce a step, carry it out, and show its result; a fault gets the place of the instruction."""
        output = self.context.output
        place = f"{self.session.request.dockerfile}:{instruction.line}: step {number}/{self.steps}: "
        place += shortened(instruction.text)
        await output.text(f"Step {number}/{self.steps} : {instruction.text}")
        await output.text("\n")
        try:
            state = await carry_out()
        except StepFailed as failure:
            failure.place = failure.place or place
            raise
        except DockerfileError as error:
            raise StepFailed(error.fault, status=error.status, place=place) from None
        except Problem as problem:
            raise StepFailed(problem.message, status=problem.status, place=place) from problem
        except OSError as error:
            what = f"{instruction.keyword} failed"
            known = resource_errors.problem(error, what)
            message = known.message if known else f"{what}: {error.strerror or error}"
            raise StepFailed(message, status=500, place=place) from error
        await output.text(f" ---> {_shown(state)}\n")
        return state

    # FROM

    async def _base(self) -> StageState:
        planned, session = self.planned, self.session
        variables = session.arguments.for_from()
        platform = words.expand(planned.stage.base.platform, variables, session.dockerfile.escape)
        platform = platform or session.request.platform
        if planned.parent is not None:
            return replace(await session.stage(planned.parent), cmd_set=False)
        if planned.image.lower() == _SCRATCH:
            return stage_state.scratch(session.arguments.architecture, cache_keys.base_key(""))
        image = await base_images.find_image(session, planned.image, self.context.output, platform)
        state = stage_state.from_image(image, cache_keys.base_key(image.id))
        return await self._triggers(state)

    async def _triggers(self, state: StageState) -> StageState:
        """Carry out the ONBUILD triggers of the base, which the image that is built does not inherit."""
        texts = state.config.on_build or []
        if not texts:
            return state
        await self.context.output.text(f"# Executing {len(texts)} build trigger{'s' if len(texts) > 1 else ''}\n")
        config = msgspec.structs.replace(state.config, on_build=None)
        state = replace(state, document=msgspec.structs.replace(state.document, config=config))
        for instruction in document.parse_triggers(texts):
            state = await self._carry_out(state, instruction)
        return state

    # Instructions

    async def _carry_out(self, state: StageState, instruction: Instruction) -> StageState:
        if isinstance(instruction, Run):
            return await run_steps.run(self.context, state, instruction)
        if isinstance(instruction, Copy):
            return await copy_steps.run(self.context, state, instruction)
        if isinstance(instruction, Arg):
            return await metadata_steps.declare(self.context, state, instruction)
        metadata: Any = instruction
        return await metadata_steps.run(self.context, state, metadata)


def _shown(state: StageState) -> str:
    return state.id.removeprefix("sha256:")[:12] if state.document.history or state.layers else ""
