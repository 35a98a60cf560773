"""Flags that several verbs share: ``--filter``, ``--format``, ``--force``, and ``key=value`` words."""

from __future__ import annotations

import sys

from netd.cli.errors import Fault
from netd.cli.parse.flags import Flag, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options


def filters(options: Options) -> str:
    """Return the query parameter ``filters`` from all ``--filter key=value``, or "" if there are none."""
    return encoded_filters(selected_filters(options))


def selected_filters(options: Options) -> dict[str, dict[str, bool]]:
    """Return the values of ``--filter`` by key.  Raises UsageFault, which lists the known keys, for an unknown key."""
    result: dict[str, dict[str, bool]] = {}
    for word in options.many("filter"):
        key, equals, value = word.partition("=")
        if not equals:
            raise options.refuse("filter", word, "use key=value")
        key = key.strip().lower()
        if key not in options.keys("filter"):
            raise options.refuse("filter", word, f"unknown filter '{key}'; use {', '.join(options.keys('filter'))}")
        result.setdefault(key, {})[value.strip()] = True
    return result


def encoded_filters(selected: dict[str, dict[str, bool]]) -> str:
    if not selected:
        return ""
    from json import dumps

    return dumps(selected)


def wants_json(options: Options) -> bool:
    """Return whether ``--format json`` was given.  Raises UsageFault for a format other than json and table."""
    value = options.text("format", "table")
    if value not in ("json", "table"):
        raise options.refuse("format", value, "use json or table")
    return value == "json"


def show_document(options: Options, document: Mapping[str, object]) -> bool:
    """Print *document* in the form of ``--format``, json or a template; return False if that is table or not given."""
    form = options.text("format", "table")
    if form == "table":
        return False
    if form == "json":
        from json import dumps

        sys.stdout.write(dumps(document, ensure_ascii=False) + "\n")
        return True
    from netd.cli.output.template import render

    try:
        sys.stdout.write(render(form, document) + "\n")
    except ValueError as error:
        raise Fault(str(error)) from None
    return True


def show_list(
    options: Options,
    headers: Mapping[str, str],
    columns: Sequence[str],
    rows: Sequence[Row],
    quiet: str,
    *,
    output: TextIO | None = None,
) -> int:
    """Print a list in the form of ``--format``, or with ``--quiet`` the field *quiet* of each row.

    A table on a terminal is made to fit it, unless ``--no-trunc`` is given.
    """
    from netd.cli.output.list_output import show

    form = options.text("format")
    if options.on("quiet"):
        form = f"{{{{.{quiet}}}}}"
    try:
        width = 0 if options.on("no-trunc") else _terminal_width()
        show(form, headers, columns, rows, output or sys.stdout, width)
    except ValueError as error:
        raise Fault(str(error)) from None
    return 0


def _terminal_width() -> int:
    """Return the columns of the terminal on standard output, 0 if there is none."""
    import os

    try:
        return os.get_terminal_size(1).columns
    except OSError:
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


NO_CONTENT_TRUST = switch("disable-content-trust", "", "Do not verify signatures of the image (true); false is refused")


def check_content_trust(options: Options) -> None:
    """Raise Fault for ``--disable-content-trust=false``, because images would not be verified."""
    if not options.on("disable-content-trust", default=True):
        raise Fault("--disable-content-trust=false is refused: netd does not verify signatures of images", 125)
