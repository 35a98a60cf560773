"""``--change``: Dockerfile instructions applied to an image that is imported or committed.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netd.common.errors import BadRequest
from runtime import signal_numbers
from runtime.build.dockerfile import instruction_parser, logical_lines
from runtime.build.dockerfile.document import parse_triggers
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.instructions import (
    Assignments,
    HealthcheckInstruction,
    Instruction,
    OnBuild,
    Program,
    Word,
    Words,
)
from runtime.build.dockerfile.logical_lines import LogicalLine
from runtime.build.plan import config_changes
from runtime.build.plan.config_changes import ImageSettings
from runtime.build.plan.variables import environment
from runtime.images.image_config import ImageConfig

_ESCAPE = "\\"
_KEYWORDS = frozenset(
    ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"]
)  # fmt: skip


def apply(changes: Iterable[str], config: ImageConfig | None = None) -> ImageConfig:
    """Return *config* after all instructions; each text holds one or more lines of a Dockerfile.

    Variables are those of the configuration's environment.  Raises BadRequest, with Docker's messages, for the first
    invalid instruction.
    """
    settings = ImageSettings(config or ImageConfig())
    for text in changes:
        lines = logical_lines.split(text).lines
        if not lines:
            raise BadRequest("file with no instructions")
        for line in lines:
            settings = _apply(settings, line)
    return settings.config


def _apply(settings: ImageSettings, line: LogicalLine) -> ImageSettings:
    keyword = line.text.split(None, 1)[0].upper()
    if keyword not in _KEYWORDS:
        raise BadRequest(f"{shortened(keyword)} is not a valid change command")
    try:
        changed = _changed(settings, instruction_parser.parse(line, _ESCAPE))
    except DockerfileError as error:
        raise BadRequest(error.fault) from None  # there is no Dockerfile whose line could be named
    if keyword == "STOPSIGNAL":
        signal_numbers.number(changed.config.stop_signal or "")
    return changed


def _changed(settings: ImageSettings, instruction: Instruction) -> ImageSettings:
    assert isinstance(instruction, Assignments | HealthcheckInstruction | OnBuild | Program | Word | Words)
    if isinstance(instruction, OnBuild):
        parse_triggers([instruction.trigger])
    return config_changes.apply(settings, instruction, environment(settings.config.env), _ESCAPE)
