"""Whether the host filters or translates what bridges forward, which direct delivery would bypass.  Changes nothing.

With br_netfilter, also netd's own rules depend on it: a container that calls a port that its neighbour publishes gets
replies that only connection tracking on the bridge translates back.
"""

from __future__ import annotations

import errno

from netd.kernel import sysctl
from netd.kernel.netlink.messages import Netlink, Request, attributes

_NETFILTER, _NFTABLES = 12, 10
_GETCHAIN, _HOOK = 4, 4
"""NFT_MSG_GETCHAIN; NFTA_CHAIN_HOOK, which only chains have that packets enter."""
_BRIDGE = 7
"""NFPROTO_BRIDGE; ebtables-nft has its rules there too."""
_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENOENT)


_BR_NETFILTER = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")


class BridgeFilters:
    def __init__(self) -> None:
        self._netlink: Netlink | None = None
        """Kept open: the kernel waits 10 ms when such a socket is closed."""

    def reason(self) -> str:
        """Return what filters or translates packets between ports of a bridge; "" if nothing does."""
        if any(sysctl.read_optional(name) == "1" for name in _BR_NETFILTER):
            return "br_netfilter"
        return "nftables chains of the family bridge" if self._has_chains() else ""

    def _has_chains(self) -> bool:
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
