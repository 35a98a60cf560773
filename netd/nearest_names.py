"""The known name that a misspelled word probably means.  Pure.

A name is offered only if few letters differ (Damerau-Levenshtein distance, transpositions counted as one), or if the
word is the start of a single name, so that nothing unrelated is offered.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 80
"""Longer words are compared with nothing: they come from clients, and the comparison takes quadratic time."""
_SHORTEST_START = 2


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the name of *known* that is nearest to *word* without regard to case, "" if none is near."""
    if not 0 < len(word) <= _LONGEST:
        return ""
    wanted, limit = word.lower(), _allowed(len(word))
    names = sorted({name for name in known if 0 < len(name) <= _LONGEST})
    distances = [(_distance(wanted, name.lower(), limit), name) for name in names]
    best = min(distances, default=(limit + 1, ""))
    if best[0] <= limit:
        return best[1]
    starts = [name for name in names if len(wanted) >= _SHORTEST_START and name.lower().startswith(wanted)]
    return starts[0] if len(starts) == 1 else ""


def _allowed(length: int) -> int:
    """Return how many letters may differ in a word of this length."""
    if length <= 2:
        return 0
    return 1 if length <= 5 else 2 if length <= 9 else 3


def _distance(word: str, name: str, limit: int) -> int:
    """Return the distance, or more than *limit* if it is above that."""
    if abs(len(word) - len(name)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(name) + 1))
    for i, letter in enumerate(word, 1):
        current = [i]
        for j, other in enumerate(name, 1):
            cost = min(row[j] + 1, current[-1] + 1, row[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == name[j - 2] and word[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        if min(current) > limit:
            return limit + 1
        before, row = row, current
    return row[-1]
