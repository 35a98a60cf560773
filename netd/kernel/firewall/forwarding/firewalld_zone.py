"""The zone ``netd`` of firewalld, which accepts what arrives by netd's links.

Owns that zone; must not change others.  firewalld is asked only if it runs in this network namespace.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection
from contextlib import suppress

from netd.common.errors import KernelRefused
from netd.kernel.firewall.forwarding.flows import OWN_NAMES
from netd.kernel.firewall.forwarding.system_bus import SystemBus, Value

_log = logging.getLogger(__name__)
ZONE = "netd"
_NAME = "org.fedoraproject.FirewallD1"
_PATH = "/org/fedoraproject/FirewallD1"
_TIMEOUT = 10.0
"""Seconds for one call: firewalld needs some seconds for a reload."""
_RETRY = 60.0
"""Seconds until a zone that could not be created, or has no effect, is tried again."""
_UNKNOWN_ZONE = "INVALID_ZONE"


class FirewalldZone:
    """Calls firewalld in a thread of its own, because its calls take seconds."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._due = 0.0

    def request(self, bridges: Collection[str]) -> None:
        """Create the zone and add the bridges' links to it; returns at once."""
        if time.monotonic() < self._due or (self._thread is not None and self._thread.is_alive()):
            return
        self._due = time.monotonic() + _RETRY
        links = sorted({f"{OWN_NAMES}+" if name.startswith(OWN_NAMES) else name for name in bridges})
        namespace = _namespace("/proc/thread-self")
        self._thread = threading.Thread(target=_run, args=(links, namespace), name="firewalld", daemon=True)
        self._thread.start()

    def remove(self) -> None:
        """Delete the zone, if firewalld runs here and has it."""
        with suppress(OSError, KernelRefused), SystemBus(_TIMEOUT) as bus:
            if _runs_here(bus, _namespace("/proc/thread-self")) and ZONE in _strings(_zone_call(bus, "getZones")):
                path = str(_config_call(bus, "getZoneByName", ZONE))
                bus.call(_NAME, path, f"{_NAME}.config.zone", "remove")
                bus.call(_NAME, _PATH, _NAME, "reload")
                _log.info("firewalld zone deleted: zone=%s", ZONE)


def _run(links: list[str], namespace: int) -> None:
    try:
        with SystemBus(_TIMEOUT) as bus:
            if _runs_here(bus, namespace):
                put(bus, links)
    except (OSError, KernelRefused) as problem:
        reason = str(getattr(problem, "message", problem))
        _log.warning("firewalld zone not created, will be retried: zone=%s error=%s", ZONE, reason)


def put(bus: SystemBus, links: list[str]) -> None:
    """Create the zone, permanently, and add *links* to it until firewalld ends.  Raises OSError and KernelRefused."""
    if ZONE not in _strings(_zone_call(bus, "getZones")):
        settings = {
            "short": ZONE,
            "description": "Networks of netd. netd creates and deletes this zone; its own rules isolate the networks.",
            "target": "ACCEPT",
        }
        try:
            _config_call(bus, "getZoneByName", ZONE)
        except KernelRefused as problem:
            if _UNKNOWN_ZONE not in problem.message:
                raise
            _config_call(bus, "addZone2", ZONE, settings)
        bus.call(_NAME, _PATH, _NAME, "reload")
        _log.info("firewalld zone created: zone=%s", ZONE)
    present = _strings(_zone_call(bus, "getInterfaces", ZONE))
    for link in links:
        if link not in present:
            _zone_call(bus, "addInterface", ZONE, link)
            _log.info("link added to firewalld zone: zone=%s link=%s", ZONE, link)


def _runs_here(bus: SystemBus, namespace: int) -> bool:
    """Return whether the firewalld on the bus acts on this network namespace."""
    owner = bus.call(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixProcessID", _NAME
    )
    return _namespace(f"/proc/{owner}") == namespace


def _namespace(process: str) -> int:
    return os.stat(f"{process}/ns/net").st_ino


def _zone_call(bus: SystemBus, member: str, *arguments: Value) -> object:
    return bus.call(_NAME, _PATH, f"{_NAME}.zone", member, *arguments)


def _config_call(bus: SystemBus, member: str, *arguments: Value) -> object:
    return bus.call(_NAME, f"{_PATH}/config", f"{_NAME}.config", member, *arguments)


def _strings(found: object) -> list[str]:
    return found if isinstance(found, list) else []
