"""The documentation of the settings, from their definitions: a page, an annotated file, effective values.  Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from netd.common.config import Definition, defaults, definitions, sections, types

_TYPES = {"Path": "path", "str": "string", "int": "number", "int | None": "number", "bool": "true or false"}

_INTRODUCTION = """\
Both daemons read `/etc/netd/netd.toml`, or the file of `--config`. A missing file means defaults. Flags take precedence
over the file. `netd --check-config` checks a file, `netd --print-config` prints all settings with their sources; the
same flags work with `netd-runtime`. Unknown settings and invalid values are errors that name the file and the setting.

Settings marked *reload* take effect after `netctl reload`, `systemctl reload` or SIGHUP; others at the next start.
Containers and published ports continue during a restart of the daemons."""


def page() -> str:
    """Return docs/configuration.md."""
    return "\n".join(_page())


def annotated_file() -> str:
    """Return a configuration file in which each setting stands as a comment with its meaning and default."""
    return "\n".join(_annotated())


def toml_text(values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Return the values as TOML, each with its source as a comment; settings without a value are comments."""
    lines = []
    for name, value in values.items():
        shown = f"# {name} is not set" if value is None else f"{name} = {toml_value(value)}"
        lines.append(f"{shown}  # {sources.get(name, 'default')}\n")
    return "".join(lines)


def toml_value(value: Any) -> str:
    """Return a setting's value in TOML (v1.0): strings as JSON strings, which are valid basic strings."""
    if isinstance(value, Path | str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _page() -> Iterator[str]:
    yield "# Configuration"
    yield ""
    yield "<!-- Made from netd/common/config.py by tools/configuration-page; a test compares them. -->"
    yield ""
    yield _INTRODUCTION
    for section in sections():
        yield ""
        yield f"## {section}"
        for name, found in definitions().items():
            if found.section == section:
                yield from ("", f"### `{name}`", "", *_entry(name, found))
    yield ""


def _entry(name: str, found: Definition) -> Iterator[str]:
    default = defaults()[name]
    shown = "not set" if default is None else f"`{toml_value(default)}`"
    choices = f", one of {', '.join(f'`{choice}`' for choice in found.choices)}" if found.choices else ""
    reload = ", *reload*" if found.reload else ""
    yield f"{_type_name(name)}{choices}; default {shown}{reload}"
    yield ""
    yield from _wrapped(found.meaning)
    yield ""
    yield f"    {name} = {found.example}"


def _type_name(name: str) -> str:
    text = types()[name]
    if text.startswith("tuple"):
        return "list of strings"
    return "table of lists" if text.startswith("dict") else _TYPES[text]


def _wrapped(text: str, prefix: str = "") -> list[str]:
    return textwrap.wrap(text, 120, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _annotated() -> Iterator[str]:
    yield "# /etc/netd/netd.toml: settings of netd and netd-runtime.  The lines show the defaults."
    for section in sections():
        yield f"\n## {section}"
        for name, found in definitions().items():
            if found.section != section:
                continue
            default = defaults()[name]
            yield ""
            yield from _wrapped(found.meaning.replace("`", ""), "# ")
            if found.choices:
                yield f"# One of: {', '.join(found.choices)}."
            yield f"# Example: {name} = {found.example}"
            yield f"# {name} = {found.example if default is None else toml_value(default)}"
    yield ""
