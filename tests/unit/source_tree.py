"""The product's source as values for the tests of its structure: modules, their imports, their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOPS = ("netd", "runtime")


@dataclass(frozen=True)
class Module:
    """A file with code; an ``__init__`` with a docstring alone does not count."""

    name: str
    path: Path

    @property
    def tree(self) -> ast.Module:
        return parsed(self.path)

    @property
    def imports(self) -> set[str]:
        """The dotted names of the product's modules that it imports, imports inside functions included."""
        return {target for target in _targets(self) if target.split(".")[0] in TOPS and target != self.name}


def dotted(path: str) -> str:
    """Return the dotted name of ``netd/engine/`` or ``netd/engine/locks.py``."""
    return path.removesuffix("/").removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


def covers(package: str, name: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def files() -> dict[str, Path]:
    """Return all files of the product by dotted name; a package's name stands for its ``__init__``."""
    found = (path for top in TOPS for path in sorted((ROOT / top).rglob("*.py")))
    return {dotted(str(path.relative_to(ROOT))): path for path in found}


@cache
def packages() -> set[str]:
    return {name for name, path in files().items() if path.name == "__init__.py"}


@cache
def modules() -> list[Module]:
    """Return all modules with code, including ``__init__`` modules with code."""
    return [Module(name, path) for name, path in files().items() if len(parsed(path).body) > 1]


def _targets(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module.path} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in files() else node.module


def closure(start: str) -> set[str]:
    """Return the names of all modules that the process of the module *start* may load."""
    known = {module.name: module for module in modules()}
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += known[name].imports
    return found
