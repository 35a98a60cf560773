"""Where ``--from`` takes files: an earlier stage, or an image."""

from __future__ import annotations

from dataclasses import dataclass

from netd.common.errors import Problem
from runtime.build.dockerfile.faults import shortened
from runtime.build.execute.base_images import find_image
from runtime.build.execute.build_request import StepFailed
from runtime.build.execute.build_session import StepContext
from runtime.build.plan.stage_graph import find_stage


@dataclass(frozen=True, slots=True)
class Origin:
    """The files of a stage or image: the folders of its layers, bottom first, and a key that identifies them."""

    key: str
    folders: tuple[str, ...]


async def find(context: StepContext, name: str) -> Origin:
    """Return the files of the stage or image *name*.  Raises a Problem with Docker's message."""
    session = context.session
    layers = session.services.layers
    index = find_stage(session.dockerfile.stages, name, context.stage_index)
    if index is not None and index in session.stages:
        state = await session.stage(index)
        return _origin(name, state.key, layers.folders(state.layers))
    try:
        image = await find_image(session, name, context.output)
    except StepFailed:
        raise
    except Problem as problem:
        raise StepFailed(
            f"invalid from flag value {shortened(name)}: {problem.message}", status=problem.status
        ) from None
    return _origin(name, image.id, layers.folders(image.layers))


def _origin(name: str, key: str, folders: tuple[str, ...]) -> Origin:
    if not folders:
        raise StepFailed(f"invalid from flag value {shortened(name)}: it has no files", status=400)
    return Origin(key, folders)
