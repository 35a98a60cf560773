"""Lists of objects in every form of ``--format``: table, ``table TEMPLATE``, ``json``, TEMPLATE.

A row maps the field names that Docker's command documents to texts; ``Label`` may be a function of a label's name.
"""

from __future__ import annotations

from netd.cli.output.columns import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO, TypeAlias

    Row: TypeAlias = Mapping[str, str | Callable[[str], str]]


def show(
    form: str, headers: Mapping[str, str], columns: Sequence[str], rows: Sequence[Row], output: TextIO, width: int
) -> None:
    """Write *rows* in the form *form*; a table without template has *columns*.  Raises ValueError for a template.

    Tables are made to fit *width* characters; 0 is unlimited.
    """
    form = form.replace("\\t", "\t").replace("\\n", "\n")
    if form in ("", "table"):
        cells = [[str(row[name]) for name in columns] for row in rows]
        output.write(table([headers[name] for name in columns], cells, width))
    elif form == "json":
        output.write("".join(_json(row) + "\n" for row in rows))
    elif form.startswith(("table ", "table\t")):
        output.write(_table(form[6:].strip(" "), headers, rows, width))
    else:
        from netd.cli.output.template import render
        from netd.cli.output.template_parser import parse

        parse(form)  # Faults of the template are errors also if there are no rows.
        output.write("".join(render(form, row) + "\n" for row in rows))


def labels(found: Mapping[str, str] | None) -> dict[str, str | Callable[[str], str]]:
    """Return the fields ``Labels`` and ``Label`` of a row."""
    known = found or {}
    return {
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(known.items())),
        "Label": lambda name: known.get(name, ""),
    }


def _json(row: Row) -> str:
    from json import dumps

    texts = {name: value for name, value in sorted(row.items()) if isinstance(value, str)}
    return dumps(texts, ensure_ascii=False, separators=(",", ":"))


def _table(template: str, headers: Mapping[str, str], rows: Sequence[Row], width: int) -> str:
    from netd.cli.output.template import render

    titles = {**headers, "Label": lambda name: name.rpartition(".")[2]}
    head, *cells = (render(template, row).split("\t") for row in (titles, *rows))
    return table(head, [(row + [""] * len(head))[: len(head)] for row in cells], width)
