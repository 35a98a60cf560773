"""Tables in the format of Docker's command: columns of at least ten characters, three blanks between columns.

Pure.  Cells contain text from images and containers, so control characters are escaped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MIN_WIDTH = 10
_SPACING = 3


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [list(head), *([escape_control(cell) for cell in row] for row in rows)]
    widths = [max(_MIN_WIDTH, *(len(row[i]) + _SPACING for row in cells)) for i in range(len(head) - 1)]
    return "".join(_line(row, widths) for row in cells)


def escape_control(text: str) -> str:
    """Return *text* with non-printable characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short_id(id: str) -> str:
    """Return the first twelve digits of an id, without ``sha256:``."""
    return id.removeprefix("sha256:")[:12]


def truncate(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "".join([*cells, row[-1]]).rstrip() + "\n"
