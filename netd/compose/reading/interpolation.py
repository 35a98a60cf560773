"""Interpolation: ``$X``, ``${X}``, ``${X:-d}``, ``${X-d}``, ``${X:?e}``, ``${X?e}``, ``${X:+r}``, ``${X+r}``, ``$$``.

Pure.  A ``$`` before anything else stands for itself.  Defaults, messages and replacements are interpolated
themselves, to a bounded depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

DEPTH = 20
LENGTH = 1 << 20
"""Bounds of nested defaults, and of the text that results, in characters."""

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class InvalidTemplate(ValueError):
    """The text has a ``${`` that begins no valid reference; the message is Docker's."""


class MissingVariable(ValueError):
    """A required variable has no value; the message is Docker's."""


@dataclass
class Variables:
    """Values of variables, and the names that were referred to without a value."""

    values: Mapping[str, str]
    unset: dict[str, None] = field(default_factory=dict)


def substitute(text: str, variables: Variables) -> str:
    """Return *text* with all references replaced.

    Names without a value are recorded in ``variables.unset`` and replaced by nothing.  Raises InvalidTemplate and
    MissingVariable.
    """
    return _substitute(text, variables, 0)


def _substitute(text: str, variables: Variables, depth: int) -> str:
    if "$" not in text:
        return text
    if depth > DEPTH:
        raise InvalidTemplate(f"invalid template: defaults of variables nest deeper than {DEPTH} levels")
    parts: list[str] = []
    at = length = 0
    while at < len(text):
        dollar = text.find("$", at)
        if dollar < 0:
            parts.append(text[at:])
            break
        value, end = _reference(text, dollar, variables, depth)
        parts += (text[at:dollar], value)
        length += dollar - at + len(value)
        if length > LENGTH:
            raise InvalidTemplate(f"invalid template: the text becomes longer than {LENGTH:,} characters")
        at = end
    return "".join(parts)


def _reference(text: str, dollar: int, variables: Variables, depth: int) -> tuple[str, int]:
    """Return the value of the reference at *dollar* and the index behind it."""
    following = text[dollar + 1 : dollar + 2]
    if following == "$":
        return "$", dollar + 2
    if following == "{":
        return _braced(text, dollar, variables, depth)
    found = _NAME.match(text, dollar + 1)
    return (_value(found[0], variables), found.end()) if found else ("$", dollar + 1)


def _braced(text: str, dollar: int, variables: Variables, depth: int) -> tuple[str, int]:
    found = _NAME.match(text, dollar + 2)
    end = _closing_brace(text, dollar)
    if not found or end < 0:
        raise _invalid(text)
    name, rest = found[0], text[found.end() : end]
    if not rest:
        return _value(name, variables), end + 1
    operator = next((sign for sign in _OPERATORS if rest.startswith(sign)), None)
    if operator is None:
        raise _invalid(text)
    value = variables.values.get(name)
    word = rest[len(operator) :]
    absent = value is None or (operator[0] == ":" and not value)
    if operator[-1] == "+":
        return "" if absent else _substitute(word, variables, depth + 1), end + 1
    if not absent:
        return value or "", end + 1
    word = _substitute(word, variables, depth + 1)
    if operator[-1] == "?":
        raise MissingVariable(f"required variable {name} is missing a value: {word}")
    return word, end + 1


@dataclass
class Reference:
    """A variable that a text refers to."""

    name: str
    default: str = ""
    alternate: str = ""
    required: bool = False


def references(text: str) -> Iterator[Reference]:
    """Yield the references of *text*, and those in their defaults and alternates; invalid ones are passed over."""
    pending = [(text, 0)]
    while pending:
        text, depth = pending.pop(0)
        for found in _references(text):
            yield found
            pending += [(word, depth + 1) for word in (found.default, found.alternate) if "$" in word and depth < DEPTH]


def _references(text: str) -> Iterator[Reference]:
    at = text.find("$")
    while at >= 0:
        braced = text.startswith("{", at + 1)
        found = _NAME.match(text, at + 1 + braced)
        end = found.end() if found else at + 1 + text.startswith("$", at + 1)
        if found and not braced:
            yield Reference(found[0])
        elif found and (closing := _closing_brace(text, at)) >= 0:
            rest = text[found.end() : closing]
            operator = next((sign for sign in _OPERATORS if rest.startswith(sign)), "")
            word = rest[len(operator) :]
            kinds = {"-": Reference(found[0], default=word), "+": Reference(found[0], alternate=word)}
            yield kinds.get(operator[-1:], Reference(found[0], required=operator.endswith("?")))
            end = closing + 1
        at = text.find("$", end)


def _value(name: str, variables: Variables) -> str:
    value = variables.values.get(name)
    if value is None:
        variables.unset[name] = None
        return ""
    return value


def _closing_brace(text: str, dollar: int) -> int:
    """Return the index of the brace that closes the reference at *dollar*; -1 without one."""
    depth, at = 0, dollar
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _invalid(text: str) -> InvalidTemplate:
    return InvalidTemplate(f'invalid interpolation format: "{text[:200]}". You may need to escape any $ with another $')
