"""Docker's patterns for paths, as in ``.dockerignore`` and ``COPY --exclude``.  Pure.

A pattern is matched against the components of a path: ``*`` and ``?`` match within one, ``**`` matches any number of
components.  A pattern that matches a folder applies to everything below it.  Patterns are applied in order, and ``!``
includes again what an earlier pattern excluded.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_PATTERNS = 10_000
LARGEST_FILE = 1 << 20
"""Bytes of a .dockerignore file."""
_LONGEST = 4096

Component = re.Pattern[str] | None
"""A component of a pattern; None stands for ``**``."""


class PatternError(ValueError):
    """A pattern is invalid."""


@dataclass(frozen=True, slots=True)
class Pattern:
    components: tuple[Component, ...]
    include: bool
    """The pattern begins with ``!``."""

    def matches(self, path: Sequence[str]) -> bool:
        """Return whether the pattern matches the path, given as components, or a folder that it is in."""
        positions = {0}
        for component in self.components:
            if component is None:
                positions = set(range(min(positions), len(path) + 1))
            else:
                fits = component.fullmatch
                positions = {at + 1 for at in positions if at < len(path) and fits(path[at])}
            if not positions:
                return False
        return True


def read_ignore_file(data: bytes) -> tuple[Pattern, ...]:
    """Return the patterns of a .dockerignore file.  Raises PatternError."""
    if len(data) > LARGEST_FILE:
        raise PatternError(f"the file with patterns to ignore is larger than {LARGEST_FILE >> 20} MiB")
    lines = data.decode("utf-8-sig", errors="surrogateescape").split("\n")
    return compile_all(line.strip() for line in lines if not line.startswith("#"))


def compile_all(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Return the patterns of *texts*; empty texts are skipped.  Raises PatternError."""
    found = []
    for text in texts:
        include = text.startswith("!")
        bare = text[1:].strip() if include else text
        if include and not bare:
            raise PatternError('illegal exclusion pattern: "!"')
        if bare and (components := compile_pattern(bare)):
            found.append(Pattern(components, include))
        if len(found) > MOST_PATTERNS:
            raise PatternError(f"there are more than {MOST_PATTERNS} patterns")
    return tuple(found)


def compile_pattern(text: str) -> tuple[Component, ...]:
    """Return the components of a pattern; none for the root itself.  Raises PatternError."""
    if len(text) > _LONGEST:
        raise PatternError(f"a pattern is longer than {_LONGEST} characters")
    clean = posixpath.normpath(text).lstrip("/")
    if clean in ("", "."):
        return ()
    components: list[Component] = []
    for word in clean.split("/"):
        if word != "**":
            components.append(_compile_component(word, text))
        elif not components or components[-1] is not None:
            components.append(None)
    if components[-1] is None:
        # "a/**" matches everything below a, and not a itself.
        components[-1] = re.compile(".*", re.DOTALL)
    return tuple(components)


def _compile_component(word: str, pattern: str) -> re.Pattern[str]:
    """Compile a component so that it is matched in linear time.

    What follows each star but the last is searched from the left, in an atomic group: a later match of it cannot help.
    """
    groups: list[str] = [""]
    position = 0
    while position < len(word):
        character = word[position]
        position += 1
        if character == "*":
            groups.append("")
        elif character == "?":
            groups[-1] += "."
        elif character == "[":
            text, position = _range(word, position, pattern)
            groups[-1] += text
        elif character == "\\":
            if position == len(word):
                raise PatternError(f"the pattern {pattern!r} ends with a backslash: escape it with another one")
            groups[-1] += re.escape(word[position])
            position += 1
        else:
            groups[-1] += re.escape(character)
    first, *rest = groups
    text = first + "".join(f"(?>.*?{group})" for group in rest[:-1]) + (f".*{rest[-1]}" if rest else "")
    return re.compile(text, re.DOTALL)


def _range(word: str, position: int, pattern: str) -> tuple[str, int]:
    """Translate a character class whose ``[`` stands before *position*; return the position after it too."""
    start = position + 1 if word.startswith("^", position) else position
    items: list[str] = []
    at = start
    while at < len(word) and (word[at] != "]" or at == start):
        low, at = _range_end(word, at)
        if word[at : at + 1] == "-" and word[at + 1 : at + 2] not in ("", "]"):
            high, at = _range_end(word, at + 1)
            if low > high:
                raise PatternError(f"the pattern {pattern!r} has an invalid range")
            items.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            items.append(re.escape(low))
    if at >= len(word) or not items:
        raise PatternError(f"the pattern {pattern!r} has a [ that is not closed")
    return f"[{'^' if start > position else ''}{''.join(items)}]", at + 1


def _range_end(word: str, at: int) -> tuple[str, int]:
    if word[at] == "\\" and at + 1 < len(word):
        return word[at + 1], at + 2
    return word[at], at + 1


def excludes(patterns: Sequence[Pattern], path: str) -> bool:
    """Return whether the patterns exclude *path* (without leading slash): the last pattern that matches decides."""
    components = path.split("/")
    for pattern in reversed(patterns):
        if pattern.matches(components):
            return not pattern.include
    return False


def includes_again(patterns: Sequence[Pattern]) -> bool:
    """Return whether excluded folders have to be searched, because a pattern includes again."""
    return any(pattern.include for pattern in patterns)
