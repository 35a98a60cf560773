"""The imports of the code are those that ARCHITECTURE.md allows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def table() -> dict[str, tuple[str, ...]]:
    """Return from module or package to the modules and packages it may import, as ARCHITECTURE.md says."""
    allowed: dict[str, tuple[str, ...]] = {}
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| ([^|]+) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    for names, permissions in rows:
        modules = [module(name) for name in re.findall(r"`([^`]+)`", names)]
        for one in modules:
            allowed[one] = (*_permitted(permissions, tuple(allowed)), *modules)
    assert "netd.engine" in allowed and "runtime" in allowed, "the table of ARCHITECTURE.md was not found"
    return allowed


def _permitted(words: str, above: tuple[str, ...]) -> tuple[str, ...]:
    if "everything" in words:
        return ("netd", "runtime")
    if "all of the above" in words:
        return above
    names = [module(name) for name in re.findall(r"`([^`]+)`", words)]
    found = [name if name.startswith(("netd", "runtime")) else f"netd.{name}" for name in names]
    # Bridges' rules are values as facts are: who speaks of facts speaks of them.
    return (*found, "netd.portmap.rules") if "netd.facts" in found else tuple(found)


def module(path: str) -> str:
    return path.removesuffix("/").removesuffix(".py").replace("/", ".")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("netd", "runtime")}


def covers(package: str, name: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def row_of(name: str, allowed: dict[str, tuple[str, ...]]) -> str:
    """Return the most particular row of the table that speaks of a module."""
    rows = [row for row in allowed if covers(row, name)]
    assert rows, f"ARCHITECTURE.md says nothing of {name}"
    return max(rows, key=len)


def strangers(path: Path) -> list[str]:
    allowed = table()
    own = module(str(path.relative_to(ROOT)))
    may = [*allowed[row_of(own, allowed)], row_of(own, allowed)]
    return [name for name in sorted(imports(path)) if name != "netd" and not any(covers(one, name) for one in may)]


FILES = sorted(path for top in ("netd", "runtime") for path in (ROOT / top).rglob("*.py") if path.stat().st_size)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_layer_may(path):
    assert strangers(path) == []


def test_a_stranger_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "ARCHITECTURE.md").write_text((Path(__file__).parents[2] / "ARCHITECTURE.md").read_text())
    (tmp_path / "netd/ipam").mkdir(parents=True)
    wrong = tmp_path / "netd/ipam/wrong.py"
    wrong.write_text("from netd.kernel import rtnl\nfrom netd.common import ids\nimport netd.engine.state\n")
    assert strangers(wrong) == ["netd.engine.state", "netd.kernel.rtnl"]
