"""Counts expensive steps of a daemon in a shared file.  Python loads it at the start, before the daemon's own modules.

What follows later, for several operations at once, is not counted: comparisons of the kernel with the known facts,
after notifications and every half second, the deletion of retired links, spare namespaces, and samples of connections.

The file (``OPERATION_COUNTS``.netd or .runtime) holds one 64-bit number for each name of ``NAMES``.
"""

from __future__ import annotations

import contextvars
import mmap
import os
import sys
import threading
from functools import wraps
from inspect import iscoroutinefunction

NAMES = (
    "netlink",  # datagrams sent to rtnetlink and netfilter
    "nft",  # scripts of libnftables
    "sysctl",  # written settings
    "threads",  # threads started
    "handovers",  # jobs for other threads
    "durable",  # transactions that are synced before their caller goes on
    "syncs",  # other syncs to disk
    "http",  # requests answered by HTTP
    "messages",  # requests answered as messages
    "http_calls",  # HTTP requests to netd
)


def _install(name: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    handle = os.open(f"{os.environ['OPERATION_COUNTS']}.{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(handle, 8 * len(NAMES))
    counts = memoryview(mmap.mmap(handle, 8 * len(NAMES))).cast("Q")
    lock = threading.Lock()
    later = contextvars.ContextVar("later", default=False)

    def count(owner: object, attribute: str, what: str, applies=lambda *_, **__: True) -> None:
        inner, position = getattr(owner, attribute), NAMES.index(what)

        @wraps(inner)
        def counted(*args, **kwargs):
            if not later.get() and applies(*args, **kwargs):
                with lock:
                    counts[position] += 1
            return inner(*args, **kwargs)

        setattr(owner, attribute, counted)

    def leave_out(owner: object, attribute: str) -> None:
        inner = getattr(owner, attribute)
        if iscoroutinefunction(inner):

            @wraps(inner)
            async def uncounted(*args, **kwargs):
                token = later.set(True)
                try:
                    return await inner(*args, **kwargs)
                finally:
                    later.reset(token)

        else:

            @wraps(inner)
            def uncounted(*args, **kwargs):
                token = later.set(True)
                try:
                    return inner(*args, **kwargs)
                finally:
                    later.reset(token)

        setattr(owner, attribute, uncounted)

    from netd.client import NetdClient
    from netd.common.http.web import Front
    from netd.common.store.store import Store

    count(ThreadPoolExecutor, "submit", "handovers")
    count(threading.Thread, "start", "threads")
    count(os, "fsync", "syncs")
    count(os, "fdatasync", "syncs")
    count(Front, "handle", "http")
    count(Front, "answer_message", "messages")
    count(NetdClient, "_request", "http_calls")
    count(Store, "_write", "durable", lambda _store, _rows, durable: durable)
    if name == "netd":
        from netd.kernel import sysctl
        from netd.kernel.firewall.nftables.nft import Nft
        from netd.kernel.kernel_host import KernelHost
        from netd.kernel.links.link_reaper import Reaper
        from netd.kernel.namespaces.spare_namespaces import SpareNamespaces
        from netd.kernel.netlink.messages import Netlink
        from netd.kernel.worker import Worker

        for owner, attribute in (
            (KernelHost, "_changes_of"),
            (KernelHost, "_compare"),
            (KernelHost, "wait_for_route_change"),
            (KernelHost, "connection_table"),
            (KernelHost, "sample_connections"),
            (KernelHost, "count_connections"),
            (KernelHost, "_make_spare"),
            (Worker, "make_spare"),
            (SpareNamespaces, "_make"),
            (Reaper, "_delete"),
        ):
            leave_out(owner, attribute)
        count(Netlink, "exchange", "netlink", lambda _socket, *requests: bool(requests))
        count(Netlink, "_ask", "netlink")
        count(Netlink, "transact", "netlink")
        count(Nft, "run", "nft")
        count(sysctl, "write", "sysctl")


if "OPERATION_COUNTS" in os.environ and "-m" in sys.orig_argv:
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    if module in ("netd", "runtime"):
        _install(module)
