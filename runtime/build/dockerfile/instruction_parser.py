"""Parses one logical line into an instruction.  Pure; raises DockerfileError with Docker's messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from netd.nearest_names import nearest
from runtime.build.dockerfile import instruction_flags as flag_parser
from runtime.build.dockerfile import instructions as values
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.here_documents import HereDocument, parse_mark, raw_words
from runtime.build.dockerfile.instruction_flags import Flags
from runtime.build.dockerfile.instructions import Command, Instruction
from runtime.build.dockerfile.logical_lines import LogicalLine

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A line split into its parts; ``arguments`` is the text after the flags."""

    keyword: str
    line: int
    text: str
    arguments: str
    flags: Flags
    here_documents: tuple[HereDocument, ...]
    escape: str


def parse(line: LogicalLine, escape: str) -> Instruction:
    """Return the instruction of a line."""
    word, _, rest = _split_first(line.text)
    keyword = word.upper()
    try:
        if keyword not in _PARSERS:
            close = nearest(keyword, _PARSERS)
            hint = f" (did you mean {close}?)" if close else ""
            raise DockerfileError(f"unknown instruction: {shortened(word)}{hint}")
        flags, arguments = flag_parser.take(keyword, rest, escape) if keyword != "ONBUILD" else ({}, rest)
        parts = _Parts(keyword, line.line, line.text, arguments, flags, line.here_documents, escape)
        return _PARSERS[keyword](parts)
    except DockerfileError as error:
        raise DockerfileError(error.fault, error.line or line.line) from None


def _split_first(text: str) -> tuple[str, str, str]:
    word = text.split(None, 1)[0]
    return word, "", text[len(word) :].strip()


# Forms of arguments


def _json_words(text: str) -> tuple[str, ...] | None:
    """Return the words of the JSON form, None if the text is not JSON.  Raises DockerfileError for other values."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in found):
        raise DockerfileError("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(found)


def _command(text: str) -> Command:
    words = _json_words(text)
    return Command((text,) if text else (), shell=True) if words is None else Command(words, shell=False)


def _words(text: str) -> tuple[str, ...]:
    words = _json_words(text)
    return tuple(text.split()) if words is None else words


def _pairs(parts: _Parts) -> values.Pairs:
    """Parse ``A=1 B="two words"``, or the old form ``A value``; quotation marks stay in the values."""
    words = raw_words(parts.arguments, parts.escape)
    if not words:
        raise DockerfileError(f"{parts.keyword} requires at least one argument")
    if "=" not in words[0]:
        name, _, value = _split_first(parts.arguments)
        if not value:
            raise DockerfileError(f"{parts.keyword} must have two arguments")
        return ((name, value),)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise DockerfileError(
                f"Syntax error - can't find = in {json.dumps(shortened(word))}. Must be of the form: name=value"
            )
        if not name:
            raise DockerfileError(f"{parts.keyword} names can not be blank")
        pairs.append((name, value))
    return tuple(pairs)


def _single(parts: _Parts) -> str:
    if not parts.arguments:
        raise DockerfileError(f"{parts.keyword} requires exactly one argument")
    return parts.arguments


# Instructions


def _from(parts: _Parts) -> Instruction:
    words = parts.arguments.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise DockerfileError("FROM requires either one or three arguments")
    name = words[2].lower() if len(words) == 3 else ""
    if name and (not _STAGE_NAME.match(name) or name == "scratch"):
        raise DockerfileError(
            f'invalid name for build stage: "{shortened(words[2])}", name can\'t start with a number or contain symbols'
            if name != "scratch"
            else "scratch is reserved and cannot be the name of a stage"
        )
    return values.From(
        keyword=parts.keyword,
        line=parts.line,
        text=parts.text,
        image=words[0],
        name=name,
        platform=flag_parser.text(parts.flags, "platform"),
    )


def _run(parts: _Parts) -> Instruction:
    if flag_parser.text(parts.flags, "security") not in ("", "sandbox"):
        raise DockerfileError("RUN --security=insecure is not supported: builds have the confinement of containers")
    network = flag_parser.text(parts.flags, "network")
    if network not in ("", "default", "none", "host"):
        raise DockerfileError(f"invalid network mode: {network}: use default, none or host")
    return values.Run(
        keyword=parts.keyword,
        line=parts.line,
        text=parts.text,
        command=_command(parts.arguments),
        mounts=tuple(flag_parser.listed(parts.flags, "mount")),
        network=network,
        here_documents=parts.here_documents,
    )


def _copy(parts: _Parts) -> Instruction:
    words = _json_words(parts.arguments)
    if words is None:
        words = tuple(_source_words(parts))
    if len(words) < 2:
        given = "at least two arguments, but only one was provided. Destination could not be determined"
        raise DockerfileError(f"{parts.keyword} requires {given if words else 'at least two arguments'}")
    flags = parts.flags
    if "keep-git-dir" in flags:
        raise DockerfileError("ADD of git repositories is not supported: clone it beside the Dockerfile and use COPY")
    return values.Copy(
        keyword=parts.keyword,
        line=parts.line,
        text=parts.text,
        sources=words[:-1],
        target=words[-1],
        origin=flag_parser.text(flags, "from"),
        owner=flag_parser.text(flags, "chown"),
        mode=flag_parser.text(flags, "chmod"),
        link=flag_parser.boolean(flags, "link"),
        parents=flag_parser.boolean(flags, "parents"),
        exclude=tuple(flag_parser.listed(flags, "exclude")),
        checksum=flag_parser.text(flags, "checksum"),
        unpack=flag_parser.boolean(flags, "unpack") if "unpack" in flags else None,
        here_documents=parts.here_documents,
    )


def _source_words(parts: _Parts) -> list[str]:
    """Split at blanks; ``<< EOF`` becomes one word."""
    words: list[str] = []
    pending = ""
    for piece in parts.arguments.split():
        word, pending = pending + piece, ""
        if parts.here_documents and re.fullmatch(r"\d{0,4}<<-?", word, re.ASCII):
            pending = word
        else:
            words.append(word)
    return words


def is_here_document(instruction: values.Copy, source: str, escape: str) -> bool:
    """Return whether a source of COPY is a here-document and not a path."""
    return bool(instruction.here_documents) and "<<" in source and parse_mark(source, escape) is not None


def mark_of(source: str, escape: str) -> str:
    """Return the name of the here-document that a source of COPY is."""
    found = parse_mark(source, escape)
    assert found is not None
    return found.name


def _assignments(parts: _Parts) -> Instruction:
    return values.Assignments(keyword=parts.keyword, line=parts.line, text=parts.text, pairs=_pairs(parts))


def _arg(parts: _Parts) -> Instruction:
    words = raw_words(parts.arguments, parts.escape)
    if not words:
        raise DockerfileError("ARG requires at least one argument")
    found: list[tuple[str, str | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise DockerfileError("ARG names can not be blank")
        found.append((name, value if equals else None))
    return values.Arg(keyword="ARG", line=parts.line, text=parts.text, arguments=tuple(found))


def _word(parts: _Parts) -> Instruction:
    return values.Word(keyword=parts.keyword, line=parts.line, text=parts.text, value=_single(parts))


def _several_words(parts: _Parts) -> Instruction:
    words = tuple(parts.arguments.split()) if parts.keyword == "EXPOSE" else _words(parts.arguments)
    if not words:
        raise DockerfileError(f"{parts.keyword} requires at least one argument")
    if any(not word for word in words):
        raise DockerfileError(f"{parts.keyword} specified can not be an empty string")
    return values.Words(keyword=parts.keyword, line=parts.line, text=parts.text, words=words)


def _shell(parts: _Parts) -> Instruction:
    words = _json_words(parts.arguments)
    if words is None:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")
    if not words:
        raise DockerfileError("SHELL requires at least one argument")
    return values.Words(keyword="SHELL", line=parts.line, text=parts.text, words=words)


def _program(parts: _Parts) -> Instruction:
    return values.Program(keyword=parts.keyword, line=parts.line, text=parts.text, command=_command(parts.arguments))


def _healthcheck(parts: _Parts) -> Instruction:
    kind, _, rest = _split_first(parts.arguments) if parts.arguments else ("", "", "")
    if kind.upper() == "NONE":
        if rest or parts.flags:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return values.HealthcheckInstruction(keyword="HEALTHCHECK", line=parts.line, text=parts.text, command=None)
    if kind.upper() != "CMD":
        raise DockerfileError(
            f"unknown type {kind.upper()!r} in HEALTHCHECK (try CMD)"
            if kind
            else "HEALTHCHECK requires at least one argument"
        )
    if not rest:
        raise DockerfileError("missing command after HEALTHCHECK CMD")
    return values.HealthcheckInstruction(
        keyword="HEALTHCHECK",
        line=parts.line,
        text=parts.text,
        command=_command(rest),
        interval=flag_parser.duration(parts.flags, "interval"),
        timeout=flag_parser.duration(parts.flags, "timeout"),
        start_period=flag_parser.duration(parts.flags, "start-period"),
        start_interval=flag_parser.duration(parts.flags, "start-interval"),
        retries=flag_parser.count(parts.flags, "retries"),
    )


def _onbuild(parts: _Parts) -> Instruction:
    if not parts.arguments:
        raise DockerfileError("ONBUILD requires at least one argument")
    inner = parts.arguments.split(None, 1)[0].upper()
    if inner == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if inner in ("FROM", "MAINTAINER"):
        raise DockerfileError(f"{inner} isn't allowed as an ONBUILD trigger")
    trigger = parse(LogicalLine(parts.arguments, parts.line, parts.here_documents), parts.escape)
    documents = "".join(f"\n{document.content}{document.name}" for document in parts.here_documents)
    return values.OnBuild(keyword="ONBUILD", line=parts.line, text=parts.text, trigger=trigger.text + documents)


_PARSERS: dict[str, Callable[[_Parts], Instruction]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _program,
    "COPY": _copy,
    "ENTRYPOINT": _program,
    "ENV": _assignments,
    "EXPOSE": _several_words,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _assignments,
    "MAINTAINER": _word,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _word,
    "USER": _word,
    "VOLUME": _several_words,
    "WORKDIR": _word,
}
