"""The service manager's protocols: readiness and watchdog (sd_notify(3)), and passed sockets (sd_listen_fds(3)).

Does nothing in a process that no service manager started.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

START_COMMAND = "NETD_START_COMMAND"
"""The environment variable in which tools/quickstart passes the command that starts missing daemons."""
_FIRST_PASSED = 3
"""SD_LISTEN_FDS_START"""


def ready() -> None:
    """Report that the daemon answers requests; also the end of a reload."""
    _notify("READY=1")


def reloading() -> None:
    _notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    _notify("STOPPING=1")


def start_command(run_dir: Path) -> str:
    """Return the command by which the user starts netd, in the way in which this daemon was started."""
    if os.environ.get("NOTIFY_SOCKET"):
        return "systemctl start netd"
    return os.environ.get(START_COMMAND) or f"netd --run-dir {run_dir}"


async def keep_watchdog() -> None:
    """Report at half of the watchdog's interval that the event loop runs; return if there is no watchdog."""
    import asyncio  # here, because a daemon takes its socket before it loads anything

    interval = _watchdog_seconds()
    while interval:
        _notify("WATCHDOG=1")
        await asyncio.sleep(interval / 2)


def passed_socket(name: str) -> socket.socket | None:
    """Return the listening unix socket that the service manager passed under *name*; None if there is none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = os.environ.get("LISTEN_FDS", "")
    for number in range(int(count) if count.isascii() and count.isdigit() else 0):
        if number < len(names) and names[number] == name:
            return socket.socket(fileno=_FIRST_PASSED + number)
    return None


def _watchdog_seconds() -> float:
    """Return WATCHDOG_USEC in seconds if it is meant for this process, else 0."""
    given = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not given.isdigit():
        return 0.0
    return int(given) / 1e6


def _notify(text: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    # A service manager that restarts must not end the daemon.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(text.encode(), address)
