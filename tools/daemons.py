"""Start, find and stop netd and netd-runtime by their sockets; used by quickstart and bench."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
SOCKETS = {"netd": "netd.sock", "netd-runtime": "docker.sock"}
"""Daemons and their sockets, in start order: netd-runtime needs netd."""
PATIENCE = 20
"""Seconds within which a daemon must answer or end."""


class DaemonError(Exception):
    """A daemon did not start or did not end; the message names the log."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of an installation."""

    state: Path = Path("/var/lib/netd")
    run: Path = Path("/run/netd")

    def socket(self, name: str) -> Path:
        return self.run / SOCKETS[name]

    def log(self, name: str) -> Path:
        return self.state / f"{name}.log"


def start(place: Place, name: str, within: Sequence[str] = ()) -> bool:
    """Start the daemon unless it answers already, and wait until it answers; return True if it was started.

    The daemon runs in a new session.  *within* is a command prefix, such as ``nsenter`` with its flags.
    """
    if answers(place.socket(name)):
        return False
    place.state.mkdir(parents=True, exist_ok=True, mode=0o710)
    command = [*within, str(BIN / name), "--state-dir", str(place.state), "--run-dir", str(place.run)]
    environment = {**os.environ, "NETD_START_COMMAND": start_command(place)}
    with open(place.log(name), "ab", opener=_private) as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
        )
    deadline = time.monotonic() + PATIENCE
    while not answers(place.socket(name)):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise DaemonError(f"{name} does not answer; the end of {place.log(name)}:\n{tail(place.log(name))}")
        time.sleep(0.02)
    return True


def start_command(place: Place) -> str:
    """Return the command that starts missing daemons, which the daemons name in errors."""
    usual = Place()
    folders = [("NETD_STATE_DIR", place.state, usual.state), ("NETD_RUN_DIR", place.run, usual.run)]
    variables = "".join(f"{name}={path} " for name, path, default in folders if path != default)
    return f"sudo {variables}{ROOT / 'tools/quickstart'} --start"


def stop(place: Place, name: str) -> bool:
    """Stop the daemon and wait until it has ended; return False if it was not running."""
    pid = listener(place.socket(name))
    if pid is None:
        return False
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], PATIENCE)[0]:
            raise DaemonError(f"{name} (process {pid}) does not end; see {place.log(name)}")
    finally:
        os.close(handle)
    return True


def answers(path: Path) -> bool:
    try:
        with _connected(path) as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: netd\r\n\r\n")
            return connection.recv(64).split(b" ", 2)[1:2] == [b"200"]
    except OSError:
        return False


def listener(path: Path) -> int | None:
    """Return the pid of the process that listens on a socket (SO_PEERCRED)."""
    try:
        with _connected(path) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    return int(struct.unpack("3i", credentials)[0])


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
