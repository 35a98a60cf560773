"""The boot id and the hostname of the machine.

Owns nothing and changes nothing.
"""

from __future__ import annotations

import socket
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the id that the kernel generates at each boot (random(4))."""
    return _BOOT_ID.read_text().strip()


def hostname() -> str:
    """Return the hostname of this process's UTS namespace."""
    return socket.gethostname()
