"""The list of ``config --variables``: what the compose files refer to.  Pure."""

from __future__ import annotations

from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.compose.reading.interpolation import Reference

    Json = dict[str, Any]

_COLUMNS = ("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")


def variables(document: Json, form: str) -> list[str]:
    """Return the lines of the list, as a table, as JSON or as YAML; Docker's compose has no fixed order, this has.

    *document* has its references still.  Raises Fault for another form.
    """
    found = sorted(_collected(document).items())
    if form in ("", "table"):
        from netd.cli.output.columns import table

        rows = [[name, str(item.required).lower(), item.default, item.alternate] for name, item in found]
        return table(_COLUMNS, rows).splitlines()
    if form == "json":
        from json import dumps

        shown = {
            name: {
                "Name": name,
                "DefaultValue": item.default,
                "PresenceValue": item.alternate,
                "Required": item.required,
            }
            for name, item in found
        }
        return [dumps(shown, indent=4, ensure_ascii=False), ""]
    if form == "yaml":
        import yaml

        keyed = {
            name: {
                "name": name,
                "defaultvalue": item.default,
                "presencevalue": item.alternate,
                "required": item.required,
            }
            for name, item in found
        }
        return yaml.safe_dump(keyed, sort_keys=False, allow_unicode=True, indent=4).splitlines()
    raise Fault(f'format value "{form}" could not be parsed: use table, json or yaml')


def _collected(document: Json) -> dict[str, Reference]:
    """Return the references by name; of several to a variable, the first default and alternate are kept."""
    from netd.compose.reading.interpolation import references

    found: dict[str, Reference] = {}
    pending: list[Any] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [value[key] for key in sorted(value, reverse=True)]
        elif isinstance(value, list):
            pending += reversed(value)
        elif isinstance(value, str) and "$" in value:
            for item in references(value):
                known = found.setdefault(item.name, item)
                known.default = known.default or item.default
                known.alternate = known.alternate or item.alternate
                known.required = known.required or item.required
    return found
