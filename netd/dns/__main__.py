"""``netd-dns``: the process that answers at 127.0.0.11 in every container.

netd starts it with the private socket as an open descriptor, so that netd can speak before it listens.
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
_MOST_LINES = 60
"""Of log, per minute."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="netd-dns", description="The name server of netd's containers.")
    parser.add_argument("--control", type=int, required=True, help="descriptor of the listening private socket")
    parser.add_argument("--socket", help="its path, so that a list of processes tells whose server this is")
    parser.add_argument("--resolv-conf", type=Path, required=True, help="where the host's resolvers are named")
    flags = parser.parse_args()
    _log_sparingly()
    os.chdir("/")
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"netd-dns")
    _allow_many_descriptors()
    loop = Loop()
    _stop_on_signal(loop)
    listener = socket.socket(fileno=flags.control)
    listener.listen(_BACKLOG)  # again, so that the kernel names this process as the peer of whoever connects
    ControlSocket(loop, listener, DnsServer(loop, flags.resolv_conf), version())
    gc.collect()
    gc.freeze()
    logging.getLogger("netd.dns").info("event=started pid=%d", os.getpid())
    loop.run()
    return 0


class _Sparing(logging.Filter):
    """Lets a bounded number of lines through per minute: whoever finds a way to surprise us must not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._minute = 0
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        minute = int(record.created // 60)
        if minute != self._minute:
            self._minute, self._lines = minute, 0
        self._lines += 1
        return self._lines <= _MOST_LINES


def _log_sparingly() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s netd-dns %(levelname)s %(message)s")
    logging.raiseExceptions = False
    logging.getLogger().handlers[0].addFilter(_Sparing())


def _allow_many_descriptors() -> None:
    """Three for each container, and one for each question under way."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop_on_signal(loop: Loop) -> None:
    """A signal's handler runs between two instructions, but epoll goes on waiting: the descriptor ends the wait."""
    wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    loop.watch(wake, READ, lambda events: loop.stop())
    signal.signal(signal.SIGTERM, lambda number, frame: os.eventfd_write(wake, 1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
