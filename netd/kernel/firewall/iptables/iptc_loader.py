"""Import of python-iptables without its side effects.

To find its libraries the package starts ldconfig and gcc, which takes 0.4 s, and it starts modprobe.  So its helper
module is replaced with a module that uses the dynamic linker.  Only its table classes are used.
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
    """Return the package ``iptc``.  Raises KernelRefused if it or one of its libraries is missing."""
    if "iptc" in sys.modules:
        return sys.modules["iptc"]
    sys.modules[_HELPERS] = _helpers()
    # Without this variable it runs ldconfig to find extensions.  None is ever loaded: entry.py builds the entries.
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
    """Return the library and its major version."""
    if name in _LIBRARIES:
        path = _LIBRARIES[name]
    else:
        found = importlib.util.find_spec("libxtwrapper")
        if found is None or found.origin is None:
            raise ImportError("no module named libxtwrapper")
        path = found.origin
    version = re.search(r"\.so\.(\d+)", path)
    return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL), int(version[1]) if version else 0
