"""Here-documents of RUN, COPY and ADD: their marks (``<<EOF``) in an instruction's text.  Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from runtime.build.dockerfile.faults import DockerfileError, shortened

_MARK = re.compile(r"(\d{0,4})<<(-?+)[ \t]*([^<\s].*)\Z", re.ASCII | re.DOTALL)
_MOST = 1000


@dataclass(frozen=True, slots=True)
class HereDocument:
    """A here-document; ``chomp`` (``<<-``) removes leading tabs, ``expand`` is false if the mark was quoted."""

    name: str
    content: str = ""
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0

    def with_content(self, content: str) -> HereDocument:
        return replace(self, content=content)

    @property
    def text(self) -> str:
        """The content, without leading tabs if the mark says so."""
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.chomp else self.content


def marks(text: str, escape: str) -> list[HereDocument]:
    """Return the here-documents that an instruction announces, without content.  Raises DockerfileError."""
    if "<<" not in text or is_json(text):
        return []
    found = []
    pending = ""
    for piece in raw_words(text, escape):
        # "<< EOF" is one mark, although it is written as two words.
        word, pending = pending + piece, ""
        if re.fullmatch(r"\d{0,4}<<-?", word, re.ASCII):
            pending = word
        elif (mark := parse_mark(word, escape)) is not None:
            found.append(mark)
    if len(found) > _MOST:
        raise DockerfileError(f"the instruction has more than {_MOST} here-documents")
    return found


def is_json(text: str) -> bool:
    """Return whether the arguments of an instruction are a JSON list."""
    start = text.find("[")
    if start < 0:
        return False
    try:
        return isinstance(json.loads(text[start:]), list)
    except (ValueError, RecursionError):
        return False


def parse_mark(word: str, escape: str = "\\") -> HereDocument | None:
    """Parse one word such as ``<<-"EOF"``; None if it is none.  Raises DockerfileError for an open quotation mark."""
    found = _MARK.match(word)
    if found is None:
        return None
    rest = found[3]
    name, quoted = _without_quotes(rest, escape)
    if not quoted and not _is_single_word(rest, escape):
        return None
    return HereDocument(name=name, expand=not quoted, chomp=bool(found[2]), descriptor=int(found[1]) if found[1] else 0)


def _is_single_word(text: str, escape: str) -> bool:
    return len(raw_words(text, escape)) == 1


def _without_quotes(text: str, escape: str) -> tuple[str, bool]:
    """Return the text without quotation marks and escapes, and whether it had quotation marks."""
    name, quote, quoted, position = "", "", False, 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == escape and quote != "'" and position < len(text):
            name += text[position]
            position += 1
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, quoted = character, True
        else:
            name += character
    if quote:
        raise DockerfileError(f"the here-document {shortened(text)} has a quotation mark that is not closed")
    return name, quoted


def raw_words(text: str, escape: str) -> list[str]:
    """Split at blanks outside of quotation marks; quotation marks and escapes stay in the words."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == escape and quote != "'" and position < len(text):
            word += character + text[position]
            position += 1
            continue
        if not quote and character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        word += character
    return [*words, word] if word else words
