"""Tables as Docker's command prints them: columns at least ten wide, three blanks between, nothing after the last.

Pure.  Cells come from the daemon, and through it from images and containers: control characters are shown, not sent.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH = 10
_GAP = 3


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [list(head), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(_WIDTH, *(len(row[i]) + _GAP for row in cells)) for i in range(len(head) - 1)]
    return "".join(_line(row, widths) for row in cells)


def plain(text: str) -> str:
    """Return *text* with everything that a terminal would act on written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short(id: str) -> str:
    """Return the twelve digits that people use of an id, without ``sha256:``."""
    return id.removeprefix("sha256:")[:12]


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "".join([*cells, row[-1]]).rstrip() + "\n"
