"""Looks up the result of a step, or produces it and records it in the cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from netd.common.errors import BadRequest
from runtime.build.execute.blocking import finished, in_thread_or_undo
from runtime.build.execute.build_session import MOST_LAYERS, StepContext
from runtime.build.execute.stage_state import StageState
from runtime.build.files import roots
from runtime.build.plan.config_changes import ImageSettings
from runtime.images.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """A step of a stage, before it is carried out."""

    key: str
    created_by: str
    """Its text in the history."""
    settings: ImageSettings | None = None
    """The settings after the step, if it changes them."""
    shared_key: str = ""
    """A second key; see :class:`CachedStep`."""


_LARGEST_DOCUMENT = 4 << 20

Produce = Callable[[], Awaitable[Layer | None]]


async def result(
    context: StepContext, state: StageState, step: BuildStep, produce: Produce | None = None
) -> StageState:
    """Return the state after *step*: from the cache, or by *produce*, which returns an unpublished layer.

    The output says which.  Without *produce* the step only changes settings.
    """
    session = context.session
    cmd_set = step.settings.cmd_set if step.settings else state.cmd_set
    if (found := await session.cached(step.key)) is not None:
        await context.output.text(" ---> Using cache\n")
        if step.shared_key:
            await session.services.cache.add_shared_key(step.key, step.shared_key)
        return state.restored(step.key, found.document, cmd_set)
    if (borrowed := session.borrowed(step.key)) is not None:
        after = state.after(
            step.key, step.created_by, settings=step.settings, diff=borrowed.diff, created=borrowed.created
        )
        if all([session.services.images.hold(session.lease, chain) for chain in after.layers]):
            await context.output.text(" ---> Using cache\n")
            return after
    layer = await produce() if produce else None
    if layer is not None:
        try:
            _check_depth(state)
            await finished(session.services.images.publish(layer, session.lease))
        except BaseException:
            session.services.layers.discard(layer)
            raise
    after = state.after(step.key, step.created_by, settings=step.settings, diff=layer.diff if layer else "")
    if len(after.text) > _LARGEST_DOCUMENT:
        raise BadRequest(
            f"the image's configuration becomes larger than {_LARGEST_DOCUMENT >> 20} MiB: use shorter values"
        )
    await session.services.cache.put(
        step.key,
        after.text,
        description=step.created_by,
        size=layer.size if layer else 0,
        shared_key=step.shared_key,
    )
    return after


def _check_depth(state: StageState) -> None:
    if len(state.layers) >= MOST_LAYERS:
        raise BadRequest(f"max depth exceeded: an image has at most {MOST_LAYERS} layers; join some RUN or COPY steps")


async def layer_of(context: StepContext, state: StageState, upper: Path) -> Layer | None:
    """Make a layer of an upper folder, which is moved; None if it has no changes."""
    layers = context.session.services.layers

    def move() -> Layer | None:
        if roots.is_empty(upper, layers.folders(state.layers)):
            return None
        return layers.from_folder(upper, state.diffs, move=True)

    return await in_thread_or_undo(move, lambda layer: discard(context, layer))


def discard(context: StepContext, layer: Layer | None) -> None:
    """Delete a layer that is not going to be published."""
    if layer is not None:
        context.session.services.layers.discard(layer)
