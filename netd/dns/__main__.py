"""``netd-dns``: the process that answers DNS queries at 127.0.0.11 in every container.

netd starts it with the listening control socket as an open descriptor, so that netd can connect before the process
has loaded.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from netd.dns.event_loop import READ, Loop
from netd.dns.protocol import version
from netd.dns.server.control_socket import ControlSocket
from netd.dns.server.service import DnsServer

_PR_SET_NAME = 15
_BACKLOG = 128
_GC_THRESHOLD = 20_000
"""Allocations between two collections: queries create no reference cycles."""
_MAX_LOG_LINES = 60
"""Per minute."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="netd-dns", description="The name server of netd's containers.")
    parser.add_argument("--control", type=int, required=True, help="descriptor of the listening control socket")
    parser.add_argument("--socket", help="its path; identifies the server in process lists")
    parser.add_argument("--resolv-conf", type=Path, required=True, help="the host's resolv.conf")
    flags = parser.parse_args()
    _configure_logging()
    os.chdir("/")
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"netd-dns")
    _allow_many_descriptors()
    loop = Loop()
    _stop_on_signal(loop)
    listener = socket.socket(fileno=flags.control)
    listener.listen(_BACKLOG)  # again: SO_PEERCRED of a connection names the process that called listen(2) last
    ControlSocket(loop, listener, DnsServer(loop, flags.resolv_conf), version())
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    logging.getLogger("netd.dns").info("started: pid=%d", os.getpid())
    loop.run()
    return 0


class _RateLimit(logging.Filter):
    """Drops log records beyond a number per minute, so that malformed queries cannot fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._minute = 0
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        minute = int(record.created // 60)
        if minute != self._minute:
            self._minute, self._lines = minute, 0
        self._lines += 1
        return self._lines <= _MAX_LOG_LINES


def _configure_logging() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s netd-dns %(levelname)s %(message)s")
    logging.raiseExceptions = False
    logging.getLogger().handlers[0].addFilter(_RateLimit())


def _allow_many_descriptors() -> None:
    """Raise RLIMIT_NOFILE to its hard limit: three descriptors per container, and one per upstream attempt."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop_on_signal(loop: Loop) -> None:
    """Stop *loop* at SIGTERM.  epoll_wait(2) is resumed after a Python signal handler, so an eventfd ends the wait."""
    wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    loop.watch(wake, READ, lambda events: loop.stop())
    signal.signal(signal.SIGTERM, lambda number, frame: os.eventfd_write(wake, 1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
