"""Transcripts in documentation pages: commands after ``# `` in fenced blocks, with the output that they must have.

Ids and round-trip times differ from run to run and are replaced before the comparison.  A line ``…`` is any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r"^```\n(# .*?)^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\btime=[0-9.]+ ms"), "time=<ms>"),
)


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the command lines of a page, in order, each with its expected output."""
    for block in _BLOCK.findall(page.read_text()):
        for part in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def shows(expected: str, found: str) -> bool:
    """Return True if *found* is the expected output, apart from what differs in each run."""
    lines = [_stable(line.rstrip()) for line in expected.strip().splitlines()]
    pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line) + r"[ \t]*\n" for line in lines)
    text = "".join(_stable(line) + "\n" for line in found.strip().splitlines())
    return re.fullmatch(pattern, text) is not None


def _stable(line: str) -> str:
    for pattern, name in _VARIABLE:
        line = pattern.sub(name, line)
    return line
