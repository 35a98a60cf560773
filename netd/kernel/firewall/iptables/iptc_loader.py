"""python-iptables, loaded without what it does on the side.

Its way of finding its libraries starts ldconfig and gcc and costs 0.4 s, and it starts modprobe: here its helper module
is replaced by one that asks the dynamic linker.  Of the library only the tables are used.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
import sys
from types import ModuleType
from typing import Any

from netd.common.errors import KernelRefused

_HELPERS = "iptc.util"
_LIBRARIES = {"xtables": "libxtables.so.12", "ip4tc": "libip4tc.so.2", "ip6tc": "libip6tc.so.2"}
_EXTENSIONS = "XTABLES_LIBDIR"
MISSING = (
    "firewall iptables needs python-iptables and the libraries of the package iptables: "
    "run tools/setup iptables, or install the package iptables and netd[iptables] with pip"
)


def load() -> Any:
    """Return the package ``iptc``.  Raises KernelRefused in one sentence when it, or a library of it, is missing."""
    if "iptc" in sys.modules:
        return sys.modules["iptc"]
    sys.modules[_HELPERS] = _helpers()
    # It would run ldconfig to find extensions; ours are packed by ourselves, so none is ever loaded.
    os.environ.setdefault(_EXTENSIONS, "/")
    try:
        return importlib.import_module("iptc")
    except (ImportError, OSError) as problem:
        for name in [name for name in sys.modules if name.split(".")[0] == "iptc"]:
            del sys.modules[name]
        raise KernelRefused(f"{MISSING} ({problem})") from problem
    finally:
        if os.environ.get(_EXTENSIONS) == "/":
            del os.environ[_EXTENSIONS]


def _helpers() -> Any:
    module: Any = ModuleType(_HELPERS)
    module.find_library = _find
    module.find_libc = lambda: ctypes.CDLL(None, mode=ctypes.RTLD_GLOBAL)
    module.load_kernel = lambda *_: None
    return module


def _find(name: str, *_: str) -> tuple[ctypes.CDLL, int]:
    """Return the library and the major version of it."""
    if name in _LIBRARIES:
        path = _LIBRARIES[name]
    else:
        found = importlib.util.find_spec("libxtwrapper")
        if found is None or found.origin is None:
            raise ImportError("no module named libxtwrapper")
        path = found.origin
    version = re.search(r"\.so\.(\d+)", path)
    return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL), int(version[1]) if version else 0
