"""Keeping idle processors awake while queries arrive quickly, through /dev/cpu_dma_latency.

Most of the time that a client waits for a response is the wake-up of idle processors: of the server's when the query
arrives, and of the client's when the response does.  A latency of 0 µs, requested from the kernel's power management
(Documentation/power/pm_qos_interface.rst), keeps all processors out of idle states.  It costs power, and on a virtual
machine processor time of its host.  So it is requested only after several queries in quick succession, is withdrawn
``HOLD_TIME`` after the last one, and is not requested on battery.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

DEVICE = Path("/dev/cpu_dma_latency")
SUPPLIES = Path("/sys/class/power_supply")
QUICK_TIME = 0.001
"""Seconds: a query that arrives this soon after the server began to wait is in quick succession."""
QUICK_QUERIES = 8
"""Queries in quick succession after which the latency is requested."""
HOLD_TIME = 0.005
"""Seconds without a query after which the request is withdrawn."""
_POWER_CHECK_TIME = 30.0
"""Seconds for which the kind of the power supply is taken as known."""
_NO_LATENCY = (0).to_bytes(4, "little")
_DEFAULT_LATENCY = (2_000_000_000).to_bytes(4, "little")
"""PM_QOS_CPU_LATENCY_DEFAULT_VALUE: no request."""


class LowLatency:
    """Requests and withdraws the latency; does nothing if it is not enabled or the device cannot be opened."""

    def __init__(self, device: Path = DEVICE, supplies: Path = SUPPLIES) -> None:
        self.is_held = False
        self._device = device
        self._supplies = supplies
        self._enabled = False
        self._fd = -1
        self._quick = 0
        self._last = 0.0
        self._on_battery = False
        self._power_known_until = 0.0

    def enable(self, enabled: bool) -> None:
        self._enabled = enabled
        self._quick = 0
        if not enabled:
            self._release()
            self._close()

    def waited(self, begin: float, end: float, has_events: bool) -> None:
        """Note that the server waited from *begin* to *end*, monotonic seconds, and whether events ended the wait."""
        if not self._enabled:
            return
        if has_events:
            self._last = end
            self._quick = self._quick + 1 if end - begin < QUICK_TIME else 0
            if self._quick >= QUICK_QUERIES and not self.is_held:
                self._hold(end)
        elif self.is_held and end - self._last >= HOLD_TIME:
            self._release()

    def _hold(self, now: float) -> None:
        if now >= self._power_known_until:
            self._power_known_until = now + _POWER_CHECK_TIME
            self._on_battery = _is_on_battery(self._supplies)
        self._quick = 0
        if not self._on_battery:
            self.is_held = self._request(_NO_LATENCY)

    def _release(self) -> None:
        if self.is_held:
            self.is_held = False
            self._quick = 0
            self._request(_DEFAULT_LATENCY)

    def _request(self, latency: bytes) -> bool:
        """Return True if the kernel has accepted the request; after an error, no more requests are made."""
        try:
            if self._fd < 0:
                self._fd = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._fd, latency)
        except OSError as problem:
            log.info("low latency is not available: device=%s error=%s", self._device, problem)
            self._enabled = False
            self._close()
            return False
        return True

    def _close(self) -> None:
        """Close the device, which also withdraws a request."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _is_on_battery(supplies: Path) -> bool:
    """Return True if a battery is discharging."""
    try:
        return any(_is_discharging(supply) for supply in supplies.iterdir())
    except OSError:
        return False


def _is_discharging(supply: Path) -> bool:
    try:
        return (supply / "status").read_text().strip() == "Discharging"
    except OSError:
        return False
