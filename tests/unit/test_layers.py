"""Imports follow the table of ARCHITECTURE.md, in which a row may only list rows above it."""

from __future__ import annotations

import re

import pytest

from tests.unit import source_tree
from tests.unit.source_tree import ROOT, covers

_ROW = re.compile(r"^\| (`[^|]+`) \| [^|]+ \| ([^|]*) \|$", re.MULTILINE)


def table(text: str) -> dict[str, tuple[str, ...]]:
    """Return the allowed imports of each module or package, in the order of the table's rows."""
    allowed: dict[str, tuple[str, ...]] = {}
    for names, permissions in _ROW.findall(text):
        rows = [source_tree.dotted(name) for name in re.findall(r"`([^`]+)`", names)]
        top = rows[0].split(".")[0]
        may = tuple(_full(name, top) for name in re.findall(r"`([^`]+)`", permissions))
        allowed |= dict.fromkeys(rows, (*may, *rows))
    assert "netd.engine.change" in allowed and "runtime.shim" in allowed, "ARCHITECTURE.md has no table of imports"
    return allowed


def _full(name: str, top: str) -> str:
    """Return the dotted name of ``engine/state``, which is short for the package of the row's own top-level folder."""
    return source_tree.dotted(
        name if name.startswith(tuple(f"{other}/" for other in source_tree.TOPS)) else f"{top}/{name}"
    )


ALLOWED = table((ROOT / "ARCHITECTURE.md").read_text().partition("## Packages and their imports")[2])


def row_of(name: str) -> str:
    """Return the most specific row for a module."""
    rows = [row for row in ALLOWED if covers(row, name)]
    assert rows, f"ARCHITECTURE.md has no row for {name}"
    return max(rows, key=len)


def not_allowed(name: str, imports: set[str]) -> list[str]:
    """Return the imports that the module's row does not list; type-only imports count as well."""
    may = ALLOWED[row_of(name)]
    rows = {imported: row_of(imported) for imported in imports if imported not in ("netd", "runtime")}
    return sorted(imported for imported, row in rows.items() if row not in may)


@pytest.mark.parametrize("module", source_tree.modules(), ids=lambda module: module.name)
def test_a_module_imports_only_what_its_row_lists(module):
    assert not_allowed(module.name, module.imports) == []


def test_a_row_lists_only_rows_above_it():
    seen: set[str] = set()
    for row, may in ALLOWED.items():
        later = [name for name in may if name not in seen and name not in _same_row(row)]
        assert later == [], f"{row} may import {later}, which stand below it or nowhere in the table"
        seen.add(row)


def _same_row(row: str) -> list[str]:
    return [name for name, may in ALLOWED.items() if row in may and name in ALLOWED[row]]


def test_every_row_names_something_that_exists():
    known = {module.name for module in source_tree.modules()} | source_tree.packages()
    assert [row for row in ALLOWED if row not in known] == []


def test_an_import_that_is_not_listed_is_found():
    assert not_allowed("netd.ipam.pools", {"netd.kernel.netlink.rtnl", "netd.common.ids"}) == [
        "netd.kernel.netlink.rtnl"
    ]
