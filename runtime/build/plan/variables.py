"""The variables of a build: ENV and ARG of a stage, ARG before the first FROM, and predefined arguments.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.build.dockerfile import words
from runtime.build.dockerfile.faults import DockerfileError
from runtime.build.dockerfile.instructions import Arg

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED = frozenset(name for proxy in _PROXIES for name in (proxy, proxy.lower()))
"""Arguments that RUN gets without ARG; they are no part of cache keys and of the history."""


def platform_arguments(architecture: str) -> dict[str, str]:
    """Return the arguments that describe the platform, the same for the build's and the image's."""
    values = {"PLATFORM": f"linux/{architecture}", "OS": "linux", "ARCH": architecture, "VARIANT": ""}
    return {f"{prefix}{name}": value for prefix in ("TARGET", "BUILD") for name, value in values.items()}


@dataclass(slots=True)
class Arguments:
    """``--build-arg`` of a request (None: the client's own variable, which is not set), and which were used."""

    given: Mapping[str, str | None]
    architecture: str
    used: set[str] = field(default_factory=set)
    before_from: dict[str, str | None] = field(default_factory=dict)
    """The arguments declared before the first FROM."""

    def value(self, name: str, default: str | None) -> str | None:
        """Return the value of an argument that is declared with *default*."""
        if name in self.given:
            self.used.add(name)
            return self.given[name] if self.given[name] is not None else default
        return default

    def declare_before_from(self, instructions: Sequence[Arg], escape: str) -> None:
        """Evaluate the ARG instructions before the first FROM, in order.  Raises DockerfileError with the line."""
        for instruction in instructions:
            with_line = _WithLine(instruction.line, instruction.text)
            for name, default in instruction.arguments:
                expanded = None if default is None else with_line.expand(default, self.for_from(), escape)
                self.before_from[name] = self.value(name, expanded)

    def for_from(self) -> dict[str, str]:
        """Return the variables of FROM instructions."""
        declared = {name: value for name, value in self.before_from.items() if value is not None}
        return platform_arguments(self.architecture) | declared

    def predefined(self) -> dict[str, str]:
        """Return the predefined arguments that were given."""
        found = {name: value for name, value in self.given.items() if name in PREDEFINED and value is not None}
        self.used.update(found)
        return found

    def unused(self) -> list[str]:
        return sorted(name for name in self.given if name not in self.used and name not in PREDEFINED)


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables of a stage at one step.  ENV has precedence over ARG."""

    environment: Mapping[str, str]
    arguments: Mapping[str, str]

    def all(self) -> dict[str, str]:
        return {**self.arguments, **self.environment}

    def visible_arguments(self) -> dict[str, str]:
        """Return the arguments that ENV does not hide, in the order of their names."""
        return {name: value for name, value in sorted(self.arguments.items()) if name not in self.environment}


def declare(variables: Variables, instruction: Arg, arguments: Arguments, escape: str) -> Variables:
    """Return the variables after an ARG instruction of a stage."""
    declared = dict(variables.arguments)
    for name, default in instruction.arguments:
        expanded = None if default is None else words.expand(default, {**declared, **variables.environment}, escape)
        if expanded is None:
            inherited = arguments.before_from.get(name)
            expanded = platform_arguments(arguments.architecture).get(name) if inherited is None else inherited
        value = arguments.value(name, expanded)
        if value is not None:
            declared[name] = value
    return Variables(variables.environment, declared)


def environment(entries: Iterable[str] | None) -> dict[str, str]:
    """Return ``NAME=VALUE`` entries of an image configuration as a mapping."""
    return {name: value for name, _, value in (entry.partition("=") for entry in entries or ())}


class _WithLine:
    """Adds the line to faults of an expansion."""

    def __init__(self, line: int, text: str) -> None:
        self._line = line
        self._text = text

    def expand(self, text: str, variables: Mapping[str, str], escape: str) -> str:
        return with_line(lambda: words.expand(text, variables, escape), self._line, text)


def with_line(action: Callable[[], str], line: int, text: str) -> str:
    """Call an expansion; a fault gets Docker's words and the line."""
    try:
        return action()
    except DockerfileError as error:
        raise DockerfileError(f'failed to process "{text[:200]}": {error.fault}', line) from None
