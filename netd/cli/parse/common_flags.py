"""Flags that many verbs have: ``--filter``, ``--format``, ``--force``, and ``key=value`` words."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from netd.cli.parse.flags import Options


def filters(options: Options) -> str:
    """Return the ``filters`` of a query from ``--filter key=value``, "" when there is none."""
    found: dict[str, dict[str, bool]] = {}
    for word in options.many("filter"):
        key, equals, value = word.partition("=")
        if not equals:
            raise options.refuse("filter", word, "say key=value")
        found.setdefault(key.strip().lower(), {})[value.strip()] = True
    if not found:
        return ""
    from json import dumps

    return dumps(found)


def wants_json(options: Options) -> bool:
    """Whether ``--format json`` was given.  Raises UsageFault for a format that is neither json nor table."""
    value = options.text("format", "table")
    if value not in ("json", "table"):
        raise options.refuse("format", value, "say json or table")
    return value == "json"


def confirmed(options: Options, question: str) -> bool:
    """Ask the person unless ``--force`` was given; the end of the input is a no."""
    if options.on("force"):
        return True
    sys.stdout.write(f"{question}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes")


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` words as a mapping; a key alone gets an empty value, a later one wins."""
    split = (word.partition("=") for word in words)
    return {key: value for key, _, value in split}
