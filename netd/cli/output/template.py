"""Templates of ``inspect --format``: a subset of Go's text/template as Docker uses it.

Pure.  ``{{.A.B}}``, ``{{json .A}}``, ``{{len .A}}``, ``{{index .A "key" 0}}``, and ``{{range .A}} … {{end}}`` with
``{{range $key, $value := .A}}``.  A missing key is rendered as ``<no value>``.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Names = dict[str, Any]

_ACTION = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_RANGE = re.compile(r"range\s+(?:(?:(\$\w+)\s*,\s*)?(\$\w+)\s*:=\s*)?(\S+)\Z")
_WORD = re.compile(r'"[^"]*"|\S+')
_OPERAND = re.compile(r"(\$\w*)?((?:\.\w+)*|\.)\Z")
_SUPPORTED = "{{.Name}}, {{json .X}}, {{len .X}}, {{index .X KEY}} and {{range .X}}…{{end}} are supported"


class _Loop:
    """A ``range`` action: the operand, the variables for key and value, and the body."""

    def __init__(self, key: str, name: str, over: str) -> None:
        self.key, self.name, self.over = key, name, over
        self.body: list[str | list[str] | _Loop] = []


def render(template: str, value: Any) -> str:
    """Return *template* rendered with *value*.  Raises ValueError that names the unsupported part."""
    return _rendered(_parsed(template), value, {"$": value})


def _parsed(template: str) -> list[str | list[str] | _Loop]:
    top = _Loop("", "", "")
    open_loops = [top]
    for index, part in enumerate(_ACTION.split(template)):
        if index % 2 == 0:
            open_loops[-1].body.append(part)
        elif part == "end" and len(open_loops) > 1:
            open_loops.pop()
        elif found := _RANGE.match(part):
            loop = _Loop(found[1] or "", found[2] or "", found[3])
            open_loops[-1].body.append(loop)
            open_loops.append(loop)
        else:
            open_loops[-1].body.append(_WORD.findall(part) or [""])
    if len(open_loops) > 1:
        raise ValueError("template: {{range}} without {{end}}")
    return top.body


def _rendered(body: list[str | list[str] | _Loop], dot: Any, names: Names) -> str:
    out = []
    for part in body:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, list):
            out.append(_text(_evaluate(part, dot, names)))
        else:
            out.extend(
                _rendered(part.body, value, {**names, part.key: key, part.name: value})
                for key, value in _items(_operand(part.over, dot, names))
            )
    return "".join(out)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _evaluate(words: list[str], dot: Any, names: Names) -> Any:
    function, arguments = words[0], words[1:]
    if function == "json" and len(arguments) == 1:
        from json import dumps

        return dumps(_operand(arguments[0], dot, names), ensure_ascii=False, separators=(",", ":"))
    if function == "len" and len(arguments) == 1:
        return len(_operand(arguments[0], dot, names) or ())
    if function == "index" and arguments:
        return _indexed([_operand(word, dot, names) for word in arguments])
    if arguments:
        raise ValueError(f"template: unsupported action '{' '.join(words)}'; {_SUPPORTED}")
    return _operand(function, dot, names)


def _indexed(values: list[Any]) -> Any:
    found, *keys = values
    for key in keys:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _operand(word: str, dot: Any, names: Names) -> Any:
    if word.startswith('"'):
        return word[1:-1]
    if word.isascii() and word.isdigit() and len(word) < 20:
        return int(word)
    found = _OPERAND.match(word)
    if not word or found is None or (found[1] and found[1] not in names):
        raise ValueError(f"template: invalid operand '{word}'; {_SUPPORTED}")
    value = names[found[1]] if found[1] else dot
    for key in found[2].split("."):
        if key:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    """Return a value in Go's default format."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{' '.join(_text(item) for item in value)}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_text(item)}' for key, item in sorted(value.items()))}]"
    return str(value)
