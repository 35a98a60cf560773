"""Parses a whole Dockerfile into stages.  Pure."""

from __future__ import annotations

from runtime.build.dockerfile import instruction_parser, logical_lines
from runtime.build.dockerfile.faults import DockerfileError
from runtime.build.dockerfile.instructions import Arg, Dockerfile, From, Instruction, Stage


def parse(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Return the stages of a Dockerfile.  *name* is the file's name for messages.  Raises DockerfileError."""
    if not data.strip():
        raise DockerfileError(f"the Dockerfile ({name}) cannot be empty")
    source = logical_lines.split(logical_lines.decode(data))
    if not source.lines:
        raise DockerfileError("failed to parse Dockerfile: file with no instructions")
    found = [instruction_parser.parse(line, source.escape) for line in source.lines]
    start = next((index for index, instruction in enumerate(found) if isinstance(instruction, From)), len(found))
    arguments = [instruction for instruction in found[:start] if isinstance(instruction, Arg)]
    if len(arguments) < start or start == len(found):
        other = next((instruction for instruction in found[:start] if not isinstance(instruction, Arg)), found[0])
        raise DockerfileError(
            f"no build stage in current context: begin with FROM before {other.keyword} on line {other.line}"
        )
    return Dockerfile(tuple(arguments), _stages(found[start:]), source.escape, source.notes)


def _stages(instructions: list[Instruction]) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    names: set[str] = set()
    body: list[Instruction] = []
    for instruction in instructions:
        if not isinstance(instruction, From):
            body.append(instruction)
            continue
        if stages:
            stages[-1] = Stage(stages[-1].index, stages[-1].base, tuple(body))
        body = []
        if instruction.name and instruction.name in names:
            raise DockerfileError(f"{instruction.name} stage name already used", instruction.line)
        names.add(instruction.name)
        stages.append(Stage(len(stages), instruction))
    stages[-1] = Stage(stages[-1].index, stages[-1].base, tuple(body))
    return tuple(stages)


def parse_triggers(texts: list[str], escape: str = "\\") -> list[Instruction]:
    """Return the instructions of an image's ONBUILD triggers.  Raises DockerfileError that names the trigger."""
    found: list[Instruction] = []
    for text in texts:
        lines = logical_lines.split(text).lines
        for line in lines:
            instruction = instruction_parser.parse(line, escape)
            if instruction.keyword in ("FROM", "ONBUILD", "MAINTAINER"):
                raise DockerfileError(f"{instruction.keyword} isn't allowed as an ONBUILD trigger")
            found.append(instruction)
    return found
