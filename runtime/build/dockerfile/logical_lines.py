"""Splits the text of a Dockerfile into logical lines: directives, comments, continuations, here-documents.

Knows no instruction except which of them may have here-documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.build.dockerfile import here_documents
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.here_documents import HereDocument

LARGEST = 4 << 20
"""Bytes of a Dockerfile."""
_MOST_LINES = 20_000
_LONGEST = 1 << 18
"""Characters of an instruction without its here-documents; a program's argument has at most 131,071 bytes in Linux."""
_DIRECTIVE = re.compile(r"#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*\Z")
_DIRECTIVES = ("syntax", "escape", "check")
_WITH_HERE_DOCUMENTS = ("RUN", "COPY", "ADD")
_BLANK = " \t\v\f"


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """An instruction's text with its continuation lines joined; ``line`` is its first line, from 1."""

    text: str
    line: int
    here_documents: tuple[HereDocument, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceText:
    """A Dockerfile's lines, its escape character, and the notes on directives that have no effect."""

    lines: tuple[LogicalLine, ...]
    escape: str
    notes: tuple[str, ...] = ()


def decode(data: bytes) -> str:
    """Return the text of a Dockerfile.  Raises DockerfileError if it is too large or not UTF-8."""
    if len(data) > LARGEST:
        raise DockerfileError(f"the Dockerfile is larger than {LARGEST >> 20} MiB: use a smaller one")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DockerfileError("the line is not UTF-8 text: save the file in that encoding", line) from None
    if "\0" in text:
        raise DockerfileError("the line holds a NUL character: remove it", text.count("\n", 0, text.index("\0")) + 1)
    return text


def split(text: str) -> SourceText:
    """Return the logical lines of a Dockerfile.  Raises DockerfileError."""
    return _Splitter(text).run()


class _Splitter:
    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._next = 0
        self._escape = "\\"
        self._notes: list[str] = []

    def run(self) -> SourceText:
        self._read_directives()
        lines = []
        while (line := self._logical_line()) is not None:
            lines.append(line)
            if len(lines) > _MOST_LINES:
                raise DockerfileError(f"the Dockerfile has more than {_MOST_LINES} instructions", line.line)
        return SourceText(tuple(lines), self._escape, tuple(self._notes))

    def _read_directives(self) -> None:
        """Read the ``# name=value`` lines at the top; the first line of another kind ends them."""
        seen: set[str] = set()
        for number, line in enumerate(self._lines, 1):
            found = _DIRECTIVE.match(line.strip())
            name = found[1].lower() if found else ""
            if found is None or name not in _DIRECTIVES:
                return
            if name in seen:
                raise DockerfileError(f"only one {name} parser directive can be used", number)
            seen.add(name)
            if name == "escape":
                if found[2] not in ("\\", "`"):
                    raise DockerfileError(f"invalid ESCAPE token {found[2]!r}: must be ` or \\", number)
                self._escape = found[2]
            else:
                self._notes.append(f"the directive {name}={shortened(found[2])} has no effect: netd has one parser")

    def _logical_line(self) -> LogicalLine | None:
        first, text = 0, ""
        for number, line in self._physical_lines():
            if line.lstrip(_BLANK).startswith("#") or not line.strip():
                continue
            joined, continues = self._continuation(line if first else line.lstrip(_BLANK))
            first = first or number
            text += joined
            if not continues:
                break
        text = text.rstrip()
        if len(text) > _LONGEST:
            raise DockerfileError(
                f"the instruction is longer than {_LONGEST} characters: put its text into a file", first
            )
        if not first:
            return None
        if not text:
            return self._logical_line()
        return LogicalLine(text, first, self._here_documents(text, first))

    def _physical_lines(self) -> Iterator[tuple[int, str]]:
        while self._next < len(self._lines):
            self._next += 1
            yield self._next, self._lines[self._next - 1].removesuffix("\r")

    def _continuation(self, line: str) -> tuple[str, bool]:
        """Return the line without an escape character at its end, and whether there was one."""
        bare = line.rstrip(" \t")
        if bare.endswith(self._escape) and not bare.endswith(2 * self._escape):
            return bare[:-1], True
        return line, False

    def _here_documents(self, text: str, line: int) -> tuple[HereDocument, ...]:
        words = text.split(None, 2)
        if words[0].upper() == "ONBUILD" and len(words) > 1:
            words = words[1:]
        if words[0].upper() not in _WITH_HERE_DOCUMENTS:
            return ()
        try:
            marks = here_documents.marks(text, self._escape)
        except DockerfileError as error:
            raise DockerfileError(error.fault, line) from None
        return tuple(self._read_document(mark, line) for mark in marks)

    def _read_document(self, mark: HereDocument, line: int) -> HereDocument:
        content: list[str] = []
        while self._next < len(self._lines):
            read = self._lines[self._next]
            last = self._next == len(self._lines) - 1
            self._next += 1
            bare = read.removesuffix("\r")
            if (bare.lstrip("\t") if mark.chomp else bare) == mark.name:
                return mark.with_content("".join(content))
            content.append(read if last else f"{read}\n")
        raise DockerfileError(f"unterminated heredoc: no line is {shortened(mark.name)}", line)
