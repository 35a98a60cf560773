"""Whether nftables filters frames that bridges forward, which direct delivery would bypass.  Changes nothing."""

from __future__ import annotations

import errno

from netd.kernel.netlink.messages import Netlink, Request, attributes

_NETFILTER, _NFTABLES = 12, 10
_GETCHAIN, _HOOK = 4, 4
"""NFT_MSG_GETCHAIN; NFTA_CHAIN_HOOK, which only chains have that packets enter."""
_BRIDGE = 7
"""NFPROTO_BRIDGE; ebtables-nft has its rules there too."""
_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENOENT)


class BridgeFilters:
    def __init__(self) -> None:
        self._netlink: Netlink | None = None
        """Kept open: the kernel waits 10 ms when such a socket is closed."""

    def present(self) -> bool:
        """Return whether there is a chain of the family bridge; False if the kernel has no nftables."""
        try:
            self._netlink = self._netlink or Netlink(_NETFILTER)
            found = self._netlink.dump(Request(_NFTABLES << 8 | _GETCHAIN, bytes((_BRIDGE, 0, 0, 0))))
        except OSError as problem:
            if problem.errno in _UNSUPPORTED:
                return False
            raise
        return any(_HOOK in attributes(message.body, 4) for message in found)

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
