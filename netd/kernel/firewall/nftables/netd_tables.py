"""Which nftables tables named ``netd`` exist, read without libnftables.  Changes nothing."""

from __future__ import annotations

import errno

from netd.kernel.netlink.messages import Message, Netlink, Request, attributes

_NETFILTER, _NFTABLES = 12, 10
_GETTABLE, _GETCHAIN = 1, 4
_NAME, _CHAIN_TABLE, _CHAIN_NAME = 1, 1, 3
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_CHAIN_NAME of linux/netfilter/nf_tables.h."""
_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


def exist() -> bool:
    """Return whether the calling thread's namespace has a table of netd; False if the kernel has no nftables."""
    return any(attributes(message.body, 4).get(_NAME) == b"netd\0" for message in _dump(_GETTABLE))


def has_chain(name: str) -> bool:
    """Return whether a table of netd in the calling thread's namespace has a chain of this name."""
    wanted = (b"netd\0", name.encode() + b"\0")
    chains = (attributes(message.body, 4) for message in _dump(_GETCHAIN))
    return any((chain.get(_CHAIN_TABLE), chain.get(_CHAIN_NAME)) == wanted for chain in chains)


def _dump(kind: int) -> list[Message]:
    try:
        with Netlink(_NETFILTER) as netlink:
            return netlink.dump(Request(_NFTABLES << 8 | kind, bytes(4)))
    except OSError as problem:
        if problem.errno in _UNSUPPORTED:
            return []
        raise
