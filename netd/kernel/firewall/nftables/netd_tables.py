"""Which nftables tables named ``netd`` exist, read without libnftables.  Changes nothing."""

from __future__ import annotations

import errno

from netd.kernel.netlink.messages import Netlink, Request, attributes

_NETFILTER, _NFTABLES = 12, 10
_GETTABLE = 1
_NAME = 1
"""NFTA_TABLE_NAME of linux/netfilter/nf_tables.h."""
_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


def exist() -> bool:
    """Return whether the calling thread's namespace has a table of netd; False if the kernel has no nftables."""
    try:
        with Netlink(_NETFILTER) as netlink:
            found = netlink.dump(Request(_NFTABLES << 8 | _GETTABLE, bytes(4)))
    except OSError as problem:
        if problem.errno in _UNSUPPORTED:
            return False
        raise
    return any(attributes(message.body, 4).get(_NAME) == b"netd\0" for message in found)
