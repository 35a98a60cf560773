"""The parts of pyroute2 that netd uses, imported without the root of the package.

The root imports every part, ipdb and unittest among them: 120 ms and 10 MB in each daemon.  A module without contents
stands for it during the import; a later ``import pyroute2`` gets the real root.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

_ROOT = "pyroute2"


def _import_without_root() -> None:
    spec = find_spec(_ROOT)
    assert spec is not None
    stand_in = ModuleType(_ROOT)
    stand_in.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[_ROOT] = stand_in
    try:
        import pyroute2.netlink.rtnl
        import pyroute2.netlink.rtnl.ndmsg
        import pyroute2.netlink.rtnl.rtmsg  # noqa: F401
    finally:
        del sys.modules[_ROOT]


if _ROOT not in sys.modules:
    _import_without_root()

rtnl = sys.modules["pyroute2.netlink.rtnl"]
"""Numbers of rtnetlink's messages and groups."""
ndmsg = sys.modules["pyroute2.netlink.rtnl.ndmsg"].ndmsg
rtmsg = sys.modules["pyroute2.netlink.rtnl.rtmsg"].rtmsg
"""Decoders of messages about neighbours and routes."""
