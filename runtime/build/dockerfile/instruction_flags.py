"""The flags of an instruction (``--name=value`` before its arguments).  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netd.common.digits import unsigned
from netd.nearest_names import nearest
from runtime.build.dockerfile.faults import DockerfileError

KNOWN: Mapping[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount", "network", "security"}),
    "COPY": frozenset({"from", "chown", "chmod", "link", "parents", "exclude"}),
    "ADD": frozenset({"chown", "chmod", "link", "exclude", "checksum", "unpack", "keep-git-dir"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
}
_REPEATED = frozenset({"mount", "exclude"})
_BOOLEAN = frozenset({"link", "parents", "unpack", "keep-git-dir"})
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LONGEST_NS = 2**63 - 1

Flags = dict[str, list[str]]


def take(keyword: str, rest: str, escape: str) -> tuple[Flags, str]:
    """Return the flags at the start of *rest*, and what follows them.  Raises DockerfileError for unknown flags."""
    flags: Flags = {}
    while rest.startswith("--"):
        word, following = _first_word(rest, escape)
        if word == "--":
            return flags, following
        name, equals, value = word.removeprefix("--").partition("=")
        _check(keyword, name, equals, value, flags)
        flags.setdefault(name, []).append(value if equals else "true")
        rest = following
    return flags, rest


def _check(keyword: str, name: str, equals: str, value: str, flags: Flags) -> None:
    known = KNOWN.get(keyword, frozenset())
    if name not in known:
        close = nearest(name, known)
        raise DockerfileError(f"unknown flag: --{name}" + (f" (did you mean {close}?)" if close else ""))
    if name in flags and name not in _REPEATED:
        raise DockerfileError(f"duplicate flag specified: --{name}")
    if not equals and name not in _BOOLEAN:
        raise DockerfileError(f"missing a value on flag: --{name}")
    if name in _BOOLEAN and equals and value.lower() not in ("true", "false"):
        raise DockerfileError(f"expecting boolean value for flag {name}, not: {value}")


def _first_word(text: str, escape: str) -> tuple[str, str]:
    """Return the first word without its quotation marks and escapes, and the text after it."""
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == escape and position < len(text) and quote != "'":
            word += text[position]
            position += 1
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif not quote and character.isspace():
            break
        else:
            word += character
    return word, text[position:].lstrip()


def text(flags: Flags, name: str) -> str:
    return flags.get(name, [""])[0]


def boolean(flags: Flags, name: str) -> bool:
    return text(flags, name).lower() == "true"


def duration(flags: Flags, name: str) -> int:
    """Return a time such as ``1m30s`` in nanoseconds, 0 if the flag is not set.  At least 1 ms, as Docker requires."""
    value = text(flags, name)
    if name not in flags:
        return 0
    total = _nanoseconds(value)
    if total is None or total > _LONGEST_NS:
        raise DockerfileError(f'time: invalid duration "{value}"')
    if 0 < total < 10**6:
        raise DockerfileError(f"interval {value!r} cannot be less than 1ms")
    return total


def _nanoseconds(value: str) -> int | None:
    if value == "0":
        return 0
    total, rest = 0, value
    while rest:
        digits = _leading(rest, "0123456789.")
        unit = _leading(rest[len(digits) :], "nuµmsh")
        whole, _, fraction = digits.partition(".")
        number = unsigned((whole or "0") + fraction)
        if unit not in _UNITS or number is None or digits in ("", "."):
            return None
        total += number * _UNITS[unit] // 10 ** len(fraction)
        rest = rest[len(digits) + len(unit) :]
    return total if value else None


def _leading(text: str, characters: str) -> str:
    return text[: len(text) - len(text.lstrip(characters))]


def count(flags: Flags, name: str) -> int:
    value = text(flags, name)
    if value.startswith("-") and unsigned(value[1:]) is not None:
        raise DockerfileError(f"--{name} cannot be negative ({value})")
    number = unsigned(value, 2**31 - 1) if name in flags else 0
    if number is None:
        raise DockerfileError(f"--{name} must be a number, not {value!r}")
    return number


def listed(flags: Flags, name: str) -> Sequence[str]:
    return flags.get(name, [])
