"""A stand-in for the root of the package aiohttp, until something uses its client.

The root imports the client: 70 ms and 4 MB in each daemon at its start, certificates among them.  The daemons need the
client for plugins, registries and downloads only.  Must be installed before the first import of a part of aiohttp;
where it is not installed, aiohttp is as usual.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

_NAME = "aiohttp"
_VERSION = re.compile(r'^__version__ = "([^"]*)"', re.MULTILINE)


def install() -> None:
    """Put the stand-in into ``sys.modules``, unless aiohttp is there already."""
    if _NAME not in sys.modules and (spec := find_spec(_NAME)) is not None:
        sys.modules[_NAME] = _Root(spec)


class _Root(ModuleType):
    """Imports submodules by attribute, and executes the real root at the first use of any other name."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(_NAME)
        self.__spec__, self.__loader__, self.__package__ = spec, spec.loader, _NAME
        self.__path__ = list(spec.submodule_search_locations or ())
        self.__file__ = spec.origin
        # The parts that servers use import the version from the root.
        found = _VERSION.search(Path(spec.origin or "").read_text())
        self.__version__ = found[1] if found else ""
        self._lock = RLock()
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            if find_spec(f"{_NAME}.{name}") is not None:
                return import_module(f"{_NAME}.{name}")
            with self._lock:
                self._execute()
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}") from None

    def _execute(self) -> None:
        if not self._begun and self.__spec__ is not None and self.__spec__.loader is not None:
            self._begun = True
            self.__spec__.loader.exec_module(self)
