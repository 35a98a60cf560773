"""The standard streams of a process as files: pipes with names, or a terminal.

The pipes are FIFOs in the shim's folder.  The process has its output open for reading and writing, so that it gets no
SIGPIPE while its shim is replaced; the next shim opens the same pipes by their names.
"""

from __future__ import annotations

import _socket
import os

from runtime.init import credentials
from runtime.shim import shimdir

_OUTPUTS = ("stdout", "stderr")


def make(directory: int, *, stdin: bool) -> None:
    """Create the FIFOs in the shim's folder."""
    for name in ("stdin", *_OUTPUTS) if stdin else _OUTPUTS:
        os.mkfifo(name, 0o600, dir_fd=directory)


def open_for_process(directory: int, *, stdin: bool) -> dict[str, int]:
    """Return the process's ends by name."""
    found = {name: os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=directory) for name in _OUTPUTS}
    if stdin:
        found["stdin"] = os.open("stdin", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
        os.set_blocking(found["stdin"], True)
    return found


def open_for_shim(directory: int, *, stdin: bool) -> dict[str, int]:
    """Return the shim's ends by name; without ``stdin`` if the process has closed its standard input."""
    flags = os.O_NONBLOCK | os.O_CLOEXEC
    found = {name: os.open(name, os.O_RDWR | flags, dir_fd=directory) for name in _OUTPUTS}
    if stdin:
        try:
            found["stdin"] = os.open("stdin", os.O_WRONLY | flags, dir_fd=directory)
        except OSError:
            pass
    return found


def terminal_for_shim(master: int) -> dict[str, int]:
    """Return the shim's ends of a terminal.  An open slave keeps it usable while no process has it open."""
    os.set_blocking(master, False)
    return {"master": master, "slave": credentials.open_slave(master)}


def listen(shims: int, name: str) -> _socket.socket:
    """Return a socket that listens at ``<name>.sock`` in the shims' folder."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
    # By descriptor, because the path of a socket is limited to 107 bytes.
    listener.bind(f"/proc/self/fd/{shims}/{name}{shimdir.SOCKET_SUFFIX}")
    listener.listen(64)
    return listener
