"""Tables in the format of Docker's command: columns of at least ten characters, three blanks between columns.

Pure.  Cells contain text from images and containers, so control characters are escaped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MIN_WIDTH = 10
_SPACING = 3
_SHORTEST = 12
"""A cell is never made shorter than this to make a table fit."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], width: int = 0) -> str:
    """Return the table; to fit *width*, unless 0, cells of the widest columns are cut off, but not names and ids."""
    cells = [list(head), *([escape_control(cell) for cell in row] for row in rows)]
    if width:
        _fit(cells, width)
    widths = [max(_MIN_WIDTH, *(len(row[i]) + _SPACING for row in cells)) for i in range(len(head) - 1)]
    return "".join(_line(row, widths) for row in cells)


def _fit(cells: list[list[str]], width: int) -> None:
    """Cut cells off in place; a table that cannot fit is cut to the shortest cells."""
    count = len(cells[0])
    longest = [max(len(row[i]) for row in cells) for i in range(count)]
    open_columns = [i for i in range(count) if cells[0][i].rsplit(" ", 1)[-1] not in ("ID", "NAME", "NAMES")]

    def total() -> int:
        return sum(max(_MIN_WIDTH, length + _SPACING) for length in longest[:-1]) + longest[-1]

    limits: dict[int, int] = {}
    while (surplus := total() - width) > 0:
        widest = max(open_columns, key=lambda i: longest[i], default=0)
        if not open_columns or longest[widest] <= max(_SHORTEST, len(cells[0][widest])):
            break
        others = [longest[i] for i in open_columns if longest[i] < longest[widest]]
        floor = max(_SHORTEST, len(cells[0][widest]), max(others, default=0) - 1)
        limits[widest] = longest[widest] = max(longest[widest] - surplus, floor)
    for column, limit in limits.items():
        for row in cells:
            row[column] = truncate(row[column], limit)


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
