"""Files of variables: ``.env``, ``env_file`` and ``label_file``.  Pure.

The grammar is Docker's: ``KEY=value``, ``KEY: value``, ``export KEY=value``, comments, values in single quotes (as
written) or double quotes (with escapes and references, over several lines), and ``KEY`` alone for the caller's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netd.compose.errors import ComposeError, Position
from netd.compose.reading.interpolation import InvalidTemplate, MissingVariable, Variables, substitute

_KEY = re.compile(r"(?:export[ \t]+)?([A-Za-z0-9_.\[\]-]+)[ \t]*([=:]|(?=\r?\n|\Z|#))[ \t]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SPACE = re.compile(r"(?:\s|#[^\n]*(?:\n|\Z))*")
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "$": "$$",
    '"': '"',
    "\\": "\\",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}


def parse(text: str, file: str, inherited: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables of a file; None for a name alone that *inherited* does not have.

    Values of *inherited* take precedence in references, not over the file.  Raises ComposeError with the line.
    """
    found: dict[str, str | None] = {}
    known = dict(inherited)
    at = _SPACE.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            line = text[at:].splitlines()[0][:60]
            raise _fail(text, at, file, f"{line!r} is no line KEY=value: correct it")
        if not key[2]:
            found[key[1]] = inherited.get(key[1])
            at = _SPACE.match(text, key.end()).end()  # type: ignore[union-attr]
            continue
        try:
            value, end = _value(text, key.end(), known, file)
        except (InvalidTemplate, MissingVariable) as error:
            raise _fail(text, at, file, str(error)) from None
        found[key[1]], at = value, end
        if key[1] not in inherited:
            known[key[1]] = value
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    return found


def _value(text: str, at: int, known: Mapping[str, str], file: str) -> tuple[str, int]:
    quote = text[at : at + 1]
    if quote in ("'", '"') and quote:
        end = _closing_quote(text, at, quote)
        if end < 0:
            raise _fail(text, at, file, "the value has no closing quote: add it")
        inner = text[at + 1 : end]
        rest = text.find("\n", end)
        value = inner if quote == "'" else substitute(_unescape(inner), Variables(known))
        return value, len(text) if rest < 0 else rest
    newline = text.find("\n", at)
    end = len(text) if newline < 0 else newline
    raw = re.split(r"(?:^|\s)#", text[at:end], maxsplit=1)[0].rstrip()
    return substitute(raw, Variables(known)), end


def _closing_quote(text: str, at: int, quote: str) -> int:
    end = at + 1
    while end < len(text):
        if text[end] == "\\" and quote == '"':
            end += 2
            continue
        if text[end] == quote:
            return end
        end += 1
    return -1


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), text)


def _fail(text: str, at: int, file: str, reason: str) -> ComposeError:
    return ComposeError(reason, (), Position(file, text.count("\n", 0, at) + 1, 1))
