"""A netlink socket for changes of elements of the table ``inet netd``: one change is one transaction.

Bound to the network namespace of the thread that creates it.  Must not create or delete sets, chains and rules.
"""

from __future__ import annotations

import errno
import socket

from netd.common.errors import KernelRefused
from netd.kernel.firewall.nftables.element_messages import SUBSYSTEM, requests
from netd.kernel.firewall.nftables.script import TableChange
from netd.kernel.netlink.messages import Netlink

_NETFILTER = 12
_SO_SNDBUFFORCE = 32
_SEND_BUFFER = 8 << 20
"""Bytes: a transaction is one datagram, and 60,000 elements take 5 MB."""


class ElementSocket(Netlink):
    """Use it in one thread, whose transactions netd's own watch of the table recognizes."""

    def __init__(self) -> None:
        super().__init__(_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)

    def change(self, changed: TableChange) -> None:
        """Apply the removed and added elements.  Raises KernelRefused, and nothing is changed then.

        Elements that are absent cannot be removed (ENOENT), nor a key be added that has another value (EEXIST, EBUSY).
        """
        try:
            self.transact(SUBSYSTEM, requests(changed.removed, changed.added))
        except BlockingIOError as problem:
            message = "nftables did not answer the change"
            raise KernelRefused(message, errno.EPROTO) from problem
        except OSError as problem:
            raise KernelRefused(f"nftables refused the change ({problem.strerror})", problem.errno or 0) from problem
