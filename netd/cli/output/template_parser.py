"""Parses templates of Go's text/template (https://pkg.go.dev/text/template) into trees.  Pure.

Left out: ``define``, ``template`` and ``block``, which need several templates; they are refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s+
    |(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)
    |(?P<char>'(?:\\.|[^'\\])')
    |(?P<number>[-+]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))
    |(?P<path>\$\w*(?:\.\w+)*|(?:\.\w+)+|\.)
    |(?P<word>\w+)
    |(?P<mark>:=|[()|,=])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_UNSUPPORTED = ("define", "template", "block")
_LONGEST = 65536
_DEEPEST = 100


class TemplateError(ValueError):
    """A fault of a template, with its position."""


@dataclass
class Literal:
    value: Any


@dataclass
class FieldPath:
    """``.A.B`` (variable ""), ``$x.A`` or ``(…).A``."""

    fields: list[str]
    variable: str = ""
    base: Pipeline | None = None
    column: int = 0


@dataclass
class Call:
    """A function with arguments; without arguments, a single operand."""

    operands: list[Operand]
    column: int
    function: str = ""


@dataclass
class Pipeline:
    calls: list[Call]
    declares: list[str] = field(default_factory=list)
    assigns: bool = False


@dataclass
class Block:
    """``if``, ``with``, ``range``: the pipeline, the body, and what follows ``else``."""

    keyword: str
    pipeline: Pipeline
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


@dataclass
class Jump:
    """``break`` or ``continue``."""

    keyword: str


if TYPE_CHECKING:
    Operand: TypeAlias = Literal | FieldPath | Pipeline
    Node: TypeAlias = str | Pipeline | Block | Jump


def parse(text: str) -> list[Node]:
    """Return the tree of a template.  Raises TemplateError."""
    if len(text) > _LONGEST:
        raise TemplateError(f"template: longer than {_LONGEST} characters")
    top: list[Node] = []
    open_blocks: list[tuple[Block | None, list[Node], int]] = [(None, top, 0)]
    for piece in _pieces(text):
        if isinstance(piece, str):
            open_blocks[-1][1].append(piece)
        else:
            _Action(*piece).apply(open_blocks)
    if len(open_blocks) > 1:
        block, _, column = open_blocks[-1]
        keyword = block.keyword if block else ""
        raise TemplateError(f"template: column {column}: {{{{{keyword}}}}} without {{{{end}}}}")
    return top


def _pieces(text: str) -> list[str | tuple[str, int]]:
    """Return texts, and actions with their columns; trim markers and comments are applied."""
    found: list[str | tuple[str, int]] = []
    begin, trim = 0, False
    for match in _ACTION.finditer(text):
        before = text[begin : match.start()]
        before = before.lstrip() if trim else before
        found.append(before.rstrip() if match[1] else before)
        inner = match[2].strip()
        if not (inner.startswith("/*") and inner.endswith("*/")):
            found.append((match[2], match.start(2) + 1))
        begin, trim = match.end(), bool(match[3])
    rest = text[begin:]
    if "{{" in rest:
        raise TemplateError(f"template: column {begin + rest.index('{{') + 1}: unclosed action")
    found.append(rest.lstrip() if trim else rest)
    return [piece for piece in found if piece != ""]


class _Action:
    """One action: reads its tokens, and changes the list of open blocks."""

    def __init__(self, text: str, column: int) -> None:
        self._column = column
        self._tokens = list(self._lexed(text))
        self._depth = 0

    def apply(self, open_blocks: list[tuple[Block | None, list[Node], int]]) -> None:
        kind, word, _ = self._tokens[0] if self._tokens else ("", "", 0)
        if not self._tokens:
            raise self._fault("missing value for command")
        if kind == "word" and word in _UNSUPPORTED:
            raise self._fault(f"{word} is not supported")
        if kind == "word" and word in ("if", "with", "range"):
            self._tokens.pop(0)
            block = Block(word, self._pipeline(declares=2 if word == "range" else 1))
            open_blocks[-1][1].append(block)
            open_blocks.append((block, block.body, self._column))
        elif kind == "word" and word in ("else", "end"):
            self._close(word, open_blocks)
        elif kind == "word" and word in ("break", "continue"):
            if not any(block and block.keyword == "range" for block, _, _ in open_blocks):
                raise self._fault(f"{{{{{word}}}}} outside {{{{range}}}}")
            open_blocks[-1][1].append(Jump(word))
        else:
            open_blocks[-1][1].append(self._pipeline(declares=1))
        if self._tokens and not (kind == "word" and word in ("break", "continue", "end")):
            raise self._fault(f"unexpected {self._tokens[0][1]!r}")

    def _close(self, word: str, open_blocks: list[tuple[Block | None, list[Node], int]]) -> None:
        block, _, column = open_blocks[-1]
        if block is None:
            raise self._fault(f"unexpected {{{{{word}}}}}")
        self._tokens.pop(0)
        open_blocks.pop()
        if word == "end":
            # An else-if chain is a block in the other's else; the end closes all of it.
            while open_blocks[-1][0] is not None and open_blocks[-1][2] == -column:
                open_blocks.pop()
            return
        if not self._tokens:
            open_blocks.append((block, block.otherwise, column))
            return
        _, keyword, _ = self._tokens.pop(0)
        if keyword not in ("if", "with"):
            raise self._fault(f"unexpected {keyword!r} after else")
        inner = Block(keyword, self._pipeline(declares=1))
        block.otherwise.append(inner)
        open_blocks.append((block, block.otherwise, -column if column > 0 else column))
        open_blocks.append((inner, inner.body, abs(column)))

    def _pipeline(self, declares: int) -> Pipeline:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fault("parentheses are nested too deeply")
        found = Pipeline([], *self._declared(declares))
        found.calls.append(self._call())
        while self._next_is("|"):
            self._tokens.pop(0)
            found.calls.append(self._call())
        self._depth -= 1
        return found

    def _declared(self, most: int) -> tuple[list[str], bool]:
        """Read ``$x :=``, ``$i, $x :=`` or ``$x =``."""
        texts = [text for _, text, _ in self._tokens[:4]]
        for count in range(1, most + 1):
            names, marks = texts[0 : 2 * count : 2], texts[1 : 2 * count : 2]
            whole = len(marks) == count and all(name.startswith("$") and "." not in name for name in names)
            if whole and marks[:-1] == [","] * (count - 1) and marks[-1] in (":=", "="):
                del self._tokens[: 2 * count]
                return names, marks[-1] == "="
        return [], False

    def _call(self) -> Call:
        column = self._tokens[0][2] if self._tokens else self._column
        function = ""
        if self._tokens and self._tokens[0][0] == "word" and self._tokens[0][1] not in ("true", "false", "nil"):
            function = self._tokens.pop(0)[1]
        operands = []
        while self._tokens and self._tokens[0][1] not in ("|", ")"):
            operands.append(self._operand())
        if not function and not operands:
            raise self._fault("missing value for command")
        return Call(operands, column, function)

    def _operand(self) -> Operand:
        kind, text, column = self._tokens.pop(0)
        if kind == "path":
            name, *fields = text.split(".")
            return FieldPath([part for part in fields if part], name, column=column)
        if kind == "mark" and text == "(":
            inner = self._pipeline(declares=0)
            if not self._next_is(")"):
                raise self._fault("unclosed left parenthesis")
            end = self._tokens.pop(0)[2]
            if self._tokens and self._tokens[0][0] == "path" and self._tokens[0][2] == end + 1:
                fields = self._tokens.pop(0)[1].split(".")[1:]
                return FieldPath(fields, base=inner, column=column)
            return inner
        if kind == "word" and text not in ("true", "false", "nil"):
            # A function as an argument is called without arguments.
            return Pipeline([Call([], column, text)])
        if kind == "mark":
            raise self._fault(f"unexpected {text!r} in operand")
        return Literal(_literal(kind, text))

    def _next_is(self, text: str) -> bool:
        return bool(self._tokens) and self._tokens[0][:2] == ("mark", text)

    def _lexed(self, text: str) -> list[tuple[str, str, int]]:
        found, position = [], 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self._column += position
                raise self._fault(f"unexpected {text[position]!r}")
            if match.lastgroup:
                found.append((match.lastgroup, match[0], self._column + position))
            position = match.end()
        return found

    def _fault(self, words: str) -> TemplateError:
        return TemplateError(f"template: column {self._column}: {words}")


def _literal(kind: str, text: str) -> Any:
    if kind == "number":
        return float(text) if "." in text else int(text, 16 if "0x" in text.lower() else 10)
    if kind == "word":
        return {"true": True, "false": False, "nil": None}[text]
    if text.startswith("`"):
        return text[1:-1]
    plain = re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1], flags=re.DOTALL)
    return ord(plain) if kind == "char" else plain
