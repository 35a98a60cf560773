"""Validation against the JSON schema of the Compose Specification, which is in ``netd/compose/data``.

The compiled validator answers yes or no; only after a no the schema is walked for the fault to report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from netd.compose.errors import Path
from netd.compose.reading.positions import Positions
from netd.nearest_names import nearest

Json = dict[str, Any]


def validate(document: Json, positions: Positions) -> None:
    """Raise ComposeError for the first fault of *document*."""
    import fastjsonschema

    try:
        _validator(*_used(document))(document)
    except fastjsonschema.JsonSchemaException as error:
        path, reason = explain(document) or ((), str(error))
        raise positions.error(path, reason) from None


@cache
def schema() -> Json:
    text = (FilePath(__file__).parent.parent / "data/compose-spec.json").read_text()
    found: Json = json.loads(text)
    return found


def _used(document: Json) -> tuple[frozenset[str], frozenset[str]]:
    """Return the keys of *document*, and those of its services."""
    services = document.get("services")
    found = services.values() if isinstance(services, dict) else ()
    return frozenset(document), frozenset(key for service in found if isinstance(service, dict) for key in service)


@cache
def _validator(keys: frozenset[str], of_services: frozenset[str]) -> Callable[[Any], Any]:
    """Compile the schema without properties that the document does not have, which takes a quarter of the time.

    Unknown keys are refused as before: the schema allows no others than its properties.
    """
    import fastjsonschema

    whole = schema()
    service = whole["definitions"]["service"]
    needed = {key: rule for key, rule in service["properties"].items() if key in of_services}
    reduced = {
        **whole,
        "properties": {key: rule for key, rule in whole["properties"].items() if key in keys},
        "definitions": {**whole["definitions"], "service": {**service, "properties": needed}},
    }
    compiled: Callable[[Any], Any] = fastjsonschema.compile(reduced, use_default=False, detailed_exceptions=False)
    return compiled


def explain(document: Any) -> tuple[Path, str] | None:
    """Return path and reason of the first fault of *document*; of alternatives, the fault that lies deepest."""
    return next(_faults(schema(), document, ()), None)


def _faults(rule: Json, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    rule = _referred(rule)
    for kind in ("oneOf", "anyOf"):
        if kind in rule:
            yield from _alternatives(rule[kind], value, path)
    wanted = rule.get("type")
    if wanted is not None and not _is_kind(value, wanted):
        yield path, f"must be {_kinds([rule])}, not {_shown(value)}"
    elif "enum" in rule and value not in rule["enum"]:
        yield path, f"must be one of {', '.join(map(str, rule['enum']))}, not {value!r}"
    elif isinstance(value, dict):
        yield from _object_faults(rule, value, path)
    elif isinstance(value, list):
        yield from _list_faults(rule, value, path)
    else:
        yield from _scalar_faults(rule, value, path)


def _alternatives(rules: list[Json], value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    found = [next(_faults(rule, value, path), None) for rule in rules]
    faults = [fault for fault in found if fault is not None]
    if len(faults) < len(rules):
        return
    deepest = max(faults, key=lambda fault: len(fault[0]))
    fitting = [fault for fault in faults if not fault[1].startswith("must be ") or len(fault[0]) > len(path)]
    if len(deepest[0]) == len(path) and not fitting:
        yield path, f"must be {_kinds(rules)}, not {_shown(value)}"
    else:
        yield max(fitting or faults, key=lambda fault: len(fault[0]))


def _object_faults(rule: Json, value: Json, path: Path) -> Iterator[tuple[Path, str]]:
    for key in rule.get("required", ()):
        if key not in value:
            yield path, f"the key {key!r} is missing: add it"
    known = rule.get("properties", {})
    patterns = rule.get("patternProperties", {})
    for key, entry in value.items():
        below = known.get(key) or next((sub for pattern, sub in patterns.items() if _matches(pattern, key)), None)
        if below is None:
            below = rule.get("additionalProperties", {})
        if below is False:
            yield (*path, key), _unknown_key(key, known, patterns)
        elif isinstance(below, dict):
            yield from _faults(below, entry, (*path, key))


def _unknown_key(key: str, known: Json, patterns: Json) -> str:
    if not known:
        return (
            f"{key!r} is no valid name: use letters, digits and the characters . _ -" if patterns else "is not allowed"
        )
    near = nearest(key, known)
    return f"the key is not known: did you mean {near!r}?" if near else "the key is not known: delete or correct it"


def _list_faults(rule: Json, value: list[Any], path: Path) -> Iterator[tuple[Path, str]]:
    for index, entry in enumerate(value):
        yield from _faults(rule.get("items", {}), entry, (*path, index))
    if rule.get("uniqueItems"):
        seen: list[Any] = []
        for index, entry in enumerate(value):
            if entry in seen:
                yield (*path, index), f"{entry!r} is already in the list: delete one of the two"
            seen.append(entry)


def _scalar_faults(rule: Json, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and "minimum" in rule and value < rule["minimum"]:
        yield path, f"must be {rule['minimum']} or more, not {value}"
    if number and "maximum" in rule and value > rule["maximum"]:
        yield path, f"must be {rule['maximum']} or less, not {value}"
    if isinstance(value, str) and "pattern" in rule and not _matches(rule["pattern"], value):
        yield path, f"{value!r} does not match {rule['pattern']}"


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, text) is not None


_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int, float),
}  # fmt: skip
_NAMES = {"object": "a mapping", "array": "a list", "string": "a string", "boolean": "true or false", "null": "empty",
          "number": "a number", "integer": "a whole number"}  # fmt: skip


def _is_kind(value: Any, wanted: str | list[str]) -> bool:
    return any(
        isinstance(value, _KINDS[kind])
        and (kind == "boolean" or not isinstance(value, bool))
        and not (kind == "integer" and isinstance(value, float) and not value.is_integer())
        for kind in ([wanted] if isinstance(wanted, str) else wanted)
    )


def _kinds(rules: list[Json]) -> str:
    names: dict[str, None] = {}
    for rule in map(_referred, rules):
        found: Any = rule.get("type")
        if found is None:
            found = [sub.get("type", "object") for sub in rule.get("oneOf") or rule.get("anyOf") or ()]
        for kind in [found] if isinstance(found, str) else found:
            if kind != "null":
                names[_NAMES[kind]] = None
    return " or ".join(names) or "another kind of value"


def _referred(rule: Json) -> Json:
    """Return the rule that a reference names."""
    while "$ref" in rule:
        rule = schema()["definitions"][rule["$ref"].rpartition("/")[2]]
    return rule


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    return f"the string {value!r}" if isinstance(value, str) else str(value).lower()
