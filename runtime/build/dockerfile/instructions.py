"""Dockerfile instructions as values; :mod:`runtime.build.dockerfile.instruction_parser` makes them from text.

Words are as written: variables are expanded when the step is reached.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.build.dockerfile.here_documents import HereDocument

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """An instruction: its keyword in capitals, its first line in the file, and its text with continuations joined."""

    keyword: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command in shell form (``words`` holds the one text) or in exec form (JSON)."""

    words: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    command: Command
    mounts: tuple[str, ...] = ()
    network: str = ""
    here_documents: tuple[HereDocument, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """COPY or ADD."""

    sources: tuple[str, ...]
    target: str
    origin: str = ""
    """``--from``: a stage or an image; empty for the build context."""
    owner: str = ""
    mode: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None
    """ADD only: whether archives are unpacked; None means archives of the context, not of URLs."""
    here_documents: tuple[HereDocument, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments(Instruction):
    """ENV or LABEL."""

    pairs: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """ARG; a name without default has the value None."""

    arguments: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word(Instruction):
    """WORKDIR, USER, STOPSIGNAL or MAINTAINER."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Words(Instruction):
    """EXPOSE, VOLUME or SHELL."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program(Instruction):
    """CMD or ENTRYPOINT."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthcheckInstruction(Instruction):
    """HEALTHCHECK; times are nanoseconds, 0 stands for the default; no command means NONE."""

    command: Command | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """ONBUILD; ``trigger`` is the text of the instruction, with its here-documents."""

    trigger: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage; ``index`` counts from 0, ``name`` is in lower case and may be empty."""

    index: int
    base: From
    instructions: tuple[Instruction, ...] = ()

    @property
    def name(self) -> str:
        return self.base.name


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile: the ARG instructions before the first FROM, the stages, and notes for the user."""

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str = "\\"
    notes: tuple[str, ...] = field(default=())
