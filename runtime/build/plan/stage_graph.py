"""Which stages a build needs, and what each waits for.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netd.common.digits import unsigned
from netd.common.errors import BadRequest
from runtime.build.dockerfile import words
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.instructions import Copy, Dockerfile, Instruction, Run, Stage
from runtime.build.plan import run_mounts
from runtime.build.plan.variables import with_line


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A needed stage: its base is an earlier stage (``parent``) or the image ``image``."""

    stage: Stage
    image: str
    parent: int | None
    waits_for: frozenset[int]
    """Indexes of the stages whose files or image it uses."""
    first_step: int
    """The number of its FROM, as shown to the user."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The needed stages in the order of the file, and the number of all steps."""

    stages: tuple[PlannedStage, ...]
    target: int
    steps: int


def plan(dockerfile: Dockerfile, target: str, variables: Mapping[str, str], *, extra_steps: int = 0) -> StagePlan:
    """Return the stages that *target* (a name or an index; empty: the last stage) needs.

    *variables* are those of FROM instructions.  Raises BadRequest for an unknown target, DockerfileError for a base
    name that is empty.
    """
    last = _target(dockerfile.stages, target)
    bases = {stage.index: _base(dockerfile, stage, variables) for stage in dockerfile.stages[: last + 1]}
    waits = {
        stage.index: frozenset(_uses(dockerfile.stages, stage, bases[stage.index][1]))
        for stage in dockerfile.stages[: last + 1]
    }
    needed, pending = set(), [last]
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending.extend(waits[index])
    planned = []
    number = len(dockerfile.arguments) + 1
    for index in sorted(needed):
        stage = dockerfile.stages[index]
        image, parent = bases[index]
        planned.append(PlannedStage(stage, image, parent, waits[index], number))
        number += 1 + len(stage.instructions)
    return StagePlan(tuple(planned), last, number - 1 + extra_steps)


def find_stage(stages: Sequence[Stage], name: str, before: int) -> int | None:
    """Return the index of the stage with a name or number, among those before the index *before*; None if none."""
    number = unsigned(name)
    if number is not None:
        return number if number < before else None
    return next((stage.index for stage in stages[:before] if stage.name == name.lower()), None)


def _target(stages: Sequence[Stage], target: str) -> int:
    if not target:
        return len(stages) - 1
    index = next((stage.index for stage in stages if stage.name == target.lower()), None)
    number = unsigned(target)
    index = number if index is None and number is not None and number < len(stages) else index
    if index is None:
        raise BadRequest(f'target stage "{shortened(target)}" could not be found')
    return index


def _base(dockerfile: Dockerfile, stage: Stage, variables: Mapping[str, str]) -> tuple[str, int | None]:
    """Return the expanded name of a stage's base, and its index if it is an earlier stage."""
    base = stage.base
    name = with_line(lambda: words.expand(base.image, variables, dockerfile.escape), base.line, base.image)
    if not name:
        raise DockerfileError(f"base name ({shortened(base.image)}) should not be blank", base.line)
    parent = next((other.index for other in dockerfile.stages[: stage.index] if other.name == name.lower()), None)
    return name, parent


def _uses(stages: Sequence[Stage], stage: Stage, parent: int | None) -> Iterator[int]:
    if parent is not None:
        yield parent
    for instruction in stage.instructions:
        for name in origins(instruction):
            if (index := find_stage(stages, name, stage.index)) is not None:
                yield index


def origins(instruction: Instruction) -> list[str]:
    """Return the stages and images that an instruction takes files from."""
    if isinstance(instruction, Copy):
        return [instruction.origin] if instruction.origin else []
    if isinstance(instruction, Run):
        mounts = (run_mounts.parse(text, "/", lambda value: value) for text in instruction.mounts)
        try:
            return [mount.origin for mount in mounts if mount.origin]
        except DockerfileError as error:
            raise DockerfileError(error.fault, instruction.line) from None
    return []
