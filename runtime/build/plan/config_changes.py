"""What metadata instructions change in an image's configuration.  Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec

from netd.common.digits import unsigned
from netd.common.errors import BadRequest
from runtime.build.dockerfile import words
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.instructions import (
    Assignments,
    Command,
    HealthcheckInstruction,
    OnBuild,
    Program,
    Word,
    Words,
)
from runtime.build.plan.variables import environment
from runtime.container_config import Empty
from runtime.container_config import Healthcheck as HealthcheckConfig
from runtime.images.image_config import ImageConfig

_DEFAULT_SHELL = ("/bin/sh", "-c")
_PROTOCOLS = ("tcp", "udp", "sctp")
_SIGNAL = re.compile(r"(?:SIG)?[A-Z0-9+-]{1,20}\Z")
_LARGEST_PORT, _MOST_PORTS = 65535, 65536

Metadata = Assignments | HealthcheckInstruction | OnBuild | Program | Word | Words


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What metadata instructions change."""

    config: ImageConfig
    author: str = ""
    cmd_set: bool = False
    """CMD was set in this stage: ENTRYPOINT keeps it."""


def apply(settings: ImageSettings, instruction: Metadata, variables: Mapping[str, str], escape: str) -> ImageSettings:
    """Return the settings after *instruction*.  Raises DockerfileError or BadRequest with Docker's messages."""
    expand = _Expander(variables, escape)
    return _HANDLERS[instruction.keyword](settings, instruction, expand)


def shell_of(config: ImageConfig) -> list[str]:
    return list(config.shell or _DEFAULT_SHELL)


def command_words(command: Command, config: ImageConfig) -> list[str]:
    """Return the argument list of a command; the shell form is run by the image's shell."""
    return [*shell_of(config), *command.words] if command.shell else list(command.words)


def workdir_after(config: ImageConfig, path: str) -> str:
    """Return the working directory that ``WORKDIR path`` sets: relative to the current one, normalized."""
    return "/" + posixpath.normpath(posixpath.join("/", config.working_dir or "/", path)).lstrip("/")


class _Expander:
    def __init__(self, variables: Mapping[str, str], escape: str) -> None:
        self._variables = variables
        self._escape = escape

    def word(self, text: str) -> str:
        try:
            return words.expand(text, self._variables, self._escape)
        except DockerfileError as error:
            raise _not_processed(text, error) from None

    def words(self, text: str) -> list[str]:
        try:
            return words.expand_words(text, self._variables, self._escape)
        except DockerfileError as error:
            raise _not_processed(text, error) from None


def _not_processed(text: str, error: DockerfileError) -> DockerfileError:
    return DockerfileError(f'failed to process "{shortened(text)}": {error.fault}')


def _with(settings: ImageSettings, **values: object) -> ImageSettings:
    return replace(settings, config=msgspec.structs.replace(settings.config, **values))


def _env(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Assignments)
    values = environment(settings.config.env)
    # All values are expanded with the variables before the instruction.
    values |= {expand.word(name): expand.word(value) for name, value in instruction.pairs}
    return _with(settings, env=[f"{name}={value}" for name, value in values.items()])


def _label(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Assignments)
    labels = {expand.word(name): expand.word(value) for name, value in instruction.pairs}
    return _with(settings, labels={**(settings.config.labels or {}), **labels})


def _user(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Word)
    return _with(settings, user=expand.word(instruction.value))


def _workdir(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Word)
    path = expand.word(instruction.value)
    if not path:
        raise BadRequest("cannot normalize nothing: WORKDIR has an empty path")
    return _with(settings, working_dir=workdir_after(settings.config, path))


def _stop_signal(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Word)
    signal = expand.word(instruction.value)
    return _with(settings, stop_signal=signal)


def _maintainer(settings: ImageSettings, instruction: Metadata, _: _Expander) -> ImageSettings:
    assert isinstance(instruction, Word)
    return replace(settings, author=instruction.value)


def _expose(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Words)
    ports: dict[str, Empty | None] = dict(settings.config.exposed_ports or {})
    for text in instruction.words:
        for word in expand.words(text):
            ports |= dict.fromkeys(_ports(word), Empty())
    return _with(settings, exposed_ports=ports)


def _ports(word: str) -> list[str]:
    """Return the ports of ``80``, ``80/udp`` or ``8000-8010/tcp``."""
    numbers, slash, protocol = word.lower().partition("/")
    first, dash, last = numbers.rpartition(":")[2].partition("-")
    low = unsigned(first, _LARGEST_PORT)
    high = unsigned(last, _LARGEST_PORT) if dash else low
    if low is None or high is None or high < low:
        raise BadRequest(f"Invalid containerPort: {shortened(numbers)}")
    if slash and protocol not in _PROTOCOLS:
        raise BadRequest(f"Invalid proto: {shortened(protocol)}")
    return [f"{port}/{protocol or 'tcp'}" for port in range(low, high + 1)]


def _volume(settings: ImageSettings, instruction: Metadata, expand: _Expander) -> ImageSettings:
    assert isinstance(instruction, Words)
    paths = [expand.word(word) for word in instruction.words]
    if not all(path.startswith("/") for path in paths):
        raise BadRequest(f"VOLUME {shortened(' '.join(paths))}: name absolute paths")
    return _with(settings, volumes={**(settings.config.volumes or {}), **{path: Empty() for path in paths}})


def _shell(settings: ImageSettings, instruction: Metadata, _: _Expander) -> ImageSettings:
    assert isinstance(instruction, Words)
    return _with(settings, shell=list(instruction.words))


def _cmd(settings: ImageSettings, instruction: Metadata, _: _Expander) -> ImageSettings:
    assert isinstance(instruction, Program)
    changed = _with(settings, cmd=command_words(instruction.command, settings.config))
    return replace(changed, cmd_set=True)


def _entrypoint(settings: ImageSettings, instruction: Metadata, _: _Expander) -> ImageSettings:
    assert isinstance(instruction, Program)
    command = command_words(instruction.command, settings.config)
    return _with(settings, entrypoint=command, cmd=settings.config.cmd if settings.cmd_set else None)


def _healthcheck(settings: ImageSettings, instruction: Metadata, _: _Expander) -> ImageSettings:
    assert isinstance(instruction, HealthcheckInstruction)
    command = instruction.command
    if command is None:
        return _with(settings, healthcheck=HealthcheckConfig(test=["NONE"]))
    check = HealthcheckConfig(
        test=["CMD-SHELL" if command.shell else "CMD", *command.words],
        interval=instruction.interval,
        timeout=instruction.timeout,
        start_period=instruction.start_period,
        start_interval=instruction.start_interval,
        retries=instruction.retries,
    )
    return _with(settings, healthcheck=check)


def _onbuild(settings: ImageSettings, instruction: Metadata, _: _Expander) -> ImageSettings:
    assert isinstance(instruction, OnBuild)
    return _with(settings, on_build=[*(settings.config.on_build or ()), instruction.trigger])


_HANDLERS: dict[str, Callable[[ImageSettings, Metadata, _Expander], ImageSettings]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
