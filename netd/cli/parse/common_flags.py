"""Flags that several verbs share: ``--filter``, ``--format``, ``--force``, and ``key=value`` words."""

from __future__ import annotations

import sys

from netd.cli.errors import Fault
from netd.cli.parse.flags import Flag, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options


def filters(options: Options) -> str:
    """Return the query parameter ``filters`` from all ``--filter key=value``, or "" if there are none."""
    result: dict[str, dict[str, bool]] = {}
    for word in options.many("filter"):
        key, equals, value = word.partition("=")
        if not equals:
            raise options.refuse("filter", word, "use key=value")
        result.setdefault(key.strip().lower(), {})[value.strip()] = True
    if not result:
        return ""
    from json import dumps

    return dumps(result)


def wants_json(options: Options) -> bool:
    """Return whether ``--format json`` was given.  Raises UsageFault for a format other than json and table."""
    value = options.text("format", "table")
    if value not in ("json", "table"):
        raise options.refuse("format", value, "use json or table")
    return value == "json"


def show_list(
    options: Options, headers: Mapping[str, str], columns: Sequence[str], rows: Sequence[Row], quiet: str
) -> int:
    """Print a list in the form of ``--format``, or with ``--quiet`` the field *quiet* of each row."""
    from netd.cli.output.list_output import show

    form = options.text("format")
    if options.on("quiet"):
        form = f"{{{{.{quiet}}}}}"
    try:
        show(form, headers, columns, rows)
    except ValueError as error:
        raise Fault(str(error)) from None
    return 0


def list_format() -> Flag:
    """Return the flag ``--format`` of a verb that lists objects."""
    meaning = "table, 'table TEMPLATE', json (an object per line), or a template"
    return text("format", "", "FORMAT", meaning, values="words:json table")


def confirmed(options: Options, question: str) -> bool:
    """Return True with ``--force`` or after the user has answered yes; end of input counts as no."""
    if options.on("force"):
        return True
    sys.stdout.write(f"{question}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes")


def labels(options: Options) -> dict[str, str]:
    """Return the labels of ``--label``.  Raises UsageFault, as docker does, if a name is empty or has white space."""
    for word in options.many("label"):
        name = word.partition("=")[0].lstrip()
        if not name or name.split() != [name]:
            raise options.refuse("label", word, "the label's name is empty or has white space")
    return pairs(options.many("label"))


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` words as a mapping; without ``=`` the value is empty, later words override earlier ones."""
    split = (word.partition("=") for word in words)
    return {key: value for key, _, value in split}
