"""The functions of templates: those of Go's text/template, and those that Docker's command adds.  Pure."""

from __future__ import annotations

import re

from netd.cli.output.template_parser import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MISSING: list[Any] = []
"""The value of a missing key of a map: empty in every context."""
_VERB = re.compile(r"%([-+ 0#]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
_WIDEST = 4096


def is_true(value: Any) -> bool:
    """Go's truth: not false, 0, nil, and not empty."""
    return bool(value)


def text(value: Any) -> str:
    """Return a value in Go's default format."""
    if value is MISSING:
        return "<no value>"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, list):
        return f"[{' '.join(map(text, value))}]"
    if callable(value):
        raise TemplateError("this field needs an argument")
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{text(item)}' for key, item in sorted(value.items()))}]"
    return str(value)


def json(value: Any) -> str:
    from json import dumps

    return dumps(value, ensure_ascii=False, separators=(",", ":"))


def index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, list | str) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key] if isinstance(value, list) else ord(value[key])
        elif value is None:
            return ""
        else:
            raise TemplateError(f"cannot index {text(value)} by {text(key)}")
    return value


def cut(value: Any, *bounds: Any) -> Any:
    """``slice``"""
    if not isinstance(value, list | str):
        raise TemplateError(f"cannot slice {text(value)}")
    low, high = (*bounds, len(value))[:2] if bounds else (0, len(value))
    if not 0 <= low <= high <= len(value):
        raise TemplateError(f"slice out of range: {low}:{high}")
    return value[low:high]


def length(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, list | dict | str):
        raise TemplateError(f"len of {text(value)}")
    return len(value.encode() if isinstance(value, str) else value)


def equal(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    return any(first == other for other in others)


def compare(name: str) -> Callable[[Any, Any], bool]:
    def function(a: Any, b: Any) -> bool:
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        if not numbers and not (isinstance(a, str) and isinstance(b, str)):
            raise TemplateError(f"{name}: incompatible types for comparison: {text(a)} and {text(b)}")
        order = (a > b) - (a < b)
        return order in {"lt": (-1,), "le": (-1, 0), "gt": (1,), "ge": (0, 1)}[name]

    return function


def sprint(*values: Any) -> str:
    """fmt.Sprint: a blank between two operands of which neither is a string."""
    out = ""
    for before, value in zip(("", *values), values, strict=False):
        out += text(value) if isinstance(before, str) or isinstance(value, str) else f" {text(value)}"
    return out


def printf(form: Any, *values: Any) -> str:
    """fmt.Sprintf for the verbs %s %v %d %q %t %f %x %%."""
    rest = list(values)

    def replaced(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        if int(width or 0) > _WIDEST or int(precision or 0) > _WIDEST:
            raise TemplateError(f"printf: the width of {match[0]} is above {_WIDEST}")
        shown = _formatted(verb, rest.pop(0), precision)
        if "0" in flags and "-" not in flags and verb in "dfx":
            return shown.zfill(int(width or 0))
        return shown.ljust(int(width or 0)) if "-" in flags else shown.rjust(int(width or 0))

    out = _VERB.sub(replaced, str(form))
    return out + (f"%!(EXTRA {', '.join(map(text, rest))})" if rest else "")


def _formatted(verb: str, value: Any, precision: str | None) -> str:
    if verb in "fFeEgG" and isinstance(value, int | float):
        return f"{value:.{precision or 6}{verb}}"
    if verb == "d" and isinstance(value, int):
        return str(value)
    if verb == "x":
        return f"{value:x}" if isinstance(value, int) else str(value).encode().hex()
    if verb == "q":
        return json(str(value))
    if verb in "svt":
        shown = text(value)
        return shown[: int(precision)] if precision and verb == "s" else shown
    return f"%!{verb}({text(value)})"


def pad(value: Any, before: int, after: int) -> str:
    """Docker's pad: blanks around a value that is not empty."""
    if max(before, after) > _WIDEST:
        raise TemplateError(f"pad: more than {_WIDEST} blanks")
    return " " * before + str(value) + " " * after if value else str(value)


def join(values: Any, separator: str) -> str:
    if not isinstance(values, list):
        raise TemplateError(f"join: {text(values)} is not a list")
    return separator.join(map(text, values))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": json,
    "index": index,
    "slice": cut,
    "len": length,
    "eq": equal,
    "ne": lambda a, b: a != b,
    **{name: compare(name) for name in ("lt", "le", "gt", "ge")},
    "not": lambda value: not is_true(value),
    "print": sprint,
    "printf": printf,
    "println": lambda *values: " ".join(map(text, values)) + "\n",
    "html": lambda *values: __import__("html").escape("".join(map(text, values))),
    "urlquery": lambda *values: __import__("urllib.parse").parse.quote_plus("".join(map(text, values))),
    "js": lambda *values: json("".join(map(text, values)))[1:-1].replace("'", "\\'"),
    "split": lambda value, separator: str(value).split(separator) if separator else list(str(value)),
    "join": join,
    "title": lambda value: re.sub(r"(?:^|(?<=\s))\w", lambda match: match[0].upper(), str(value)),
    "lower": lambda value: str(value).lower(),
    "upper": lambda value: str(value).upper(),
    "pad": pad,
    "truncate": lambda value, length: str(value)[:length] if length >= 0 else str(value),
}
"""Functions by name; ``and`` and ``or`` evaluate their arguments one by one, so they are not functions."""
