"""Expansion of words: quotation marks, escapes, ``$name`` and ``${name}`` with the modifiers of a shell.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtime.build.dockerfile.faults import DockerfileError, shortened

LONGEST = 1 << 18
"""Characters of an expanded word; a file of a few lines can otherwise ask for a value of any size."""
_LONGEST_TEXT = 4 << 20
"""The same for a here-document."""
_LONGEST_REPLACED = 1 << 14
_DEEPEST = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SPECIAL = re.compile(r"[0-9@*#?$!-]", re.ASCII)
_MODIFIER = re.compile(r":?[-+?]|##?|%%?|//?")


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return *text* as one word, with variables replaced and quotation marks removed.  Raises DockerfileError."""
    return _Expansion(text, variables, escape).word()


def expand_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Return the words of *text*, separated by blanks that are not quoted, also where a variable contains them."""
    return _Expansion(text, variables, escape).words()


def expand_text(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return the content of a here-document with variables replaced: quotation marks stay, ``\\$`` is a dollar sign."""
    return _Expansion(text, variables, escape).text()


class _Expansion:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._position = 0
        self._depth = 0

    def word(self) -> str:
        return self._bounded("".join(part for part, _ in self._parts("")))

    def text(self) -> str:
        parts: list[str] = []
        size = 0
        special = re.compile(f"[${re.escape(self._escape)}]")
        while self._position < len(self._text):
            start = self._position
            found = special.search(self._text, start)
            if found is None:
                parts.append(self._text[start:])
                break
            parts.append(self._text[start : found.start()])
            self._position = found.start()
            parts.append(self._dollar() if self._take() == "$" else self._escaped_in_text())
            size += len(parts[-2]) + len(parts[-1])
            if size > _LONGEST_TEXT:
                raise DockerfileError(f"a here-document becomes longer than {_LONGEST_TEXT} characters when expanded")
        return "".join(parts)

    def _escaped_in_text(self) -> str:
        following = self._take()
        return following if following in ("$", self._escape) else self._escape + following

    def words(self) -> list[str]:
        words: list[str] = []
        current, started = "", False
        for part, quoted in self._parts(""):
            if quoted:
                current, started = current + part, True
                continue
            for piece in re.split(r"(\s+)", part):
                if piece and piece.isspace():
                    if started:
                        words.append(current)
                    current, started = "", False
                elif piece:
                    current, started = current + piece, True
        return [*words, current] if started else words

    def _bounded(self, text: str) -> str:
        if len(text) > LONGEST:
            raise DockerfileError(f"{shortened(self._text)} becomes longer than {LONGEST} characters when expanded")
        return text

    def _parts(self, end: str) -> list[tuple[str, bool]]:
        """Return the parts up to *end* (consumed) or the end of the text, and whether each was quoted."""
        parts: list[tuple[str, bool]] = []
        size = 0
        while self._position < len(self._text):
            character = self._take()
            if character == end:
                return parts
            part = self._part(character)
            size += len(part[0])
            if size > LONGEST:
                self._bounded(" " * (LONGEST + 1))
            parts.append(part)
        if end:
            raise DockerfileError(f"syntax error: missing '{end}' in {shortened(self._text)}")
        return parts

    def _part(self, character: str) -> tuple[str, bool]:
        if character == "'":
            return self._single_quoted(), True
        if character == '"':
            return self._double_quoted(), True
        if character == "$":
            return self._dollar(), False
        if character == self._escape:
            return self._take(), True
        return character, False

    def _take(self) -> str:
        found = self._text[self._position : self._position + 1]
        self._position += 1
        return found

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position)
        if end < 0:
            raise DockerfileError("unexpected end of statement while looking for matching single-quote")
        text, self._position = self._text[self._position : end], end + 1
        return text

    def _double_quoted(self) -> str:
        parts: list[str] = []
        while self._position < len(self._text):
            character = self._take()
            if character == '"':
                return self._bounded("".join(parts))
            if character == "$":
                parts.append(self._dollar())
            elif character == self._escape and self._peek():
                following = self._take()
                parts.append(following if following in ('"', "$", self._escape) else character + following)
            else:
                parts.append(character)
        raise DockerfileError("unexpected end of statement while looking for matching double-quote")

    # Variables

    def _dollar(self) -> str:
        if self._peek() == "{":
            self._position += 1
            return self._braced()
        name = self._name()
        return self._variables.get(name, "") if name else "$"

    def _name(self) -> str:
        found = _NAME.match(self._text, self._position) or _SPECIAL.match(self._text, self._position)
        if found is None:
            return ""
        self._position = found.end()
        return found[0]

    def _braced(self) -> str:
        if not self._peek():
            raise DockerfileError("syntax error: missing '}'")
        name = self._name()
        if not name:
            raise DockerfileError(f"syntax error: bad substitution in {shortened(self._text)}")
        if self._peek() == "}":
            self._position += 1
            return self._variables.get(name, "")
        found = _MODIFIER.match(self._text, self._position)
        if found is None:
            modifier = self._text[self._position : self._position + 1]
            what = f"unsupported modifier ({modifier}) in substitution" if modifier else "syntax error: missing '}'"
            raise DockerfileError(what)
        self._position = found.end()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise DockerfileError(f"substitutions are nested deeper than {_DEEPEST} levels")
        try:
            return self._modified(name, found[0])
        finally:
            self._depth -= 1

    def _modified(self, name: str, modifier: str) -> str:
        value = self._variables.get(name)
        if modifier[0] in "#%":
            return _trimmed(value or "", self._pattern("}"), modifier)
        if modifier[0] == "/":
            pattern, replacement = self._pattern("/"), self._argument()
            return self._bounded(_replaced(value or "", pattern, replacement, every=modifier == "//"))
        word = self._argument()
        missing = value is None or (modifier[0] == ":" and not value)
        if modifier[-1] == "+":
            return "" if missing else word
        if modifier[-1] == "-":
            return word if missing else value or ""
        if missing:
            raise DockerfileError(f"{name}: {word or 'not allowed to be unset'}")
        return value or ""

    def _argument(self) -> str:
        return self._bounded("".join(part for part, _ in self._parts("}")))

    def _pattern(self, end: str) -> str:
        """Return the pattern up to *end*; escapes stay in it, so that an escaped ``*`` is a star."""
        parts: list[str] = []
        while self._position < len(self._text):
            character = self._take()
            if character == end:
                return self._bounded("".join(parts))
            if character == self._escape and self._peek():
                following = self._take()
                parts.append(following if following in ("}", "/") else f"\\{following}")
            elif character in "'\"":
                parts.append(_literal(self._single_quoted() if character == "'" else self._double_quoted()))
            else:
                parts.append(self._dollar() if character == "$" else character)
        raise DockerfileError(f"syntax error: missing '{end}' in {shortened(self._text)}")


# Patterns


def _literal(text: str) -> str:
    return re.sub(r"([*?\\])", r"\\\1", text)


def _tokens(pattern: str) -> list[str]:
    """Return ``*``, ``?``, or a regular expression for each character of the pattern.  Raises DockerfileError."""
    tokens: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            if following not in ("*", "?", "\\"):
                raise DockerfileError(f"invalid escape '\\{following}' in the pattern {shortened(pattern)}")
            tokens.append(re.escape(following))
        else:
            tokens.append(character if character in "*?" else re.escape(character))
    return tokens


def _regex(tokens: list[str], *, greedy: bool) -> re.Pattern[str]:
    """Compile a pattern that is matched in linear time.

    All stars but the last match as little as possible, in atomic groups: a later match of what follows them cannot
    make the whole match shorter or longer.
    """
    groups: list[str] = [""]
    for token in tokens:
        if token == "*":
            groups.append("")
        else:
            groups[-1] += "." if token == "?" else token
    first, *rest = groups
    lazy = "".join(f"(?>.*?{group})" for group in (rest[:-1] if greedy else rest))
    last = f".*{rest[-1]}" if greedy and rest else ""
    return re.compile(first + lazy + last, re.DOTALL)


def _trimmed(value: str, pattern: str, modifier: str) -> str:
    """Return the value without the shortest (``#``, ``%``) or longest (``##``, ``%%``) matching start or end."""
    tokens = _tokens(pattern)
    at_end = modifier[0] == "%"
    text = value[::-1] if at_end else value
    found = _regex(tokens[::-1] if at_end else tokens, greedy=len(modifier) == 2).match(text)
    rest = text[found.end() :] if found else text
    return rest[::-1] if at_end else rest


def _replaced(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    if len(value) > _LONGEST_REPLACED:
        raise DockerfileError(f"the value to replace {shortened(pattern)} in is longer than {_LONGEST_REPLACED}")
    return _regex(_tokens(pattern), greedy=True).sub(lambda _: replacement, value, count=0 if every else 1)
