"""The redirect to the resolver inside a sandbox, by the sandbox's own nftables.

Owns the table ``ip netd`` of the sandbox's namespace.
"""

from __future__ import annotations

from netd.kernel.firewall.nftables import netd_tables
from netd.kernel.firewall.nftables.nft import Nft

# A script in a new libnftables context takes 0.6 ms.  Prepared nfnetlink messages would save 0.5 ms of a container's
# start and be unreadable.
# The chain is flushed, not deleted and added: when the context is closed, the kernel waits 16 ms for objects that a
# transaction deleted, and the chain of a new namespace has nothing to flush.
_REDIRECT = """
add table ip netd
add chain ip netd resolver {{ type nat hook output priority -100; policy accept; }}
flush chain ip netd resolver
add rule ip netd resolver ip daddr {address} udp dport 53 dnat to {address}:{udp}
add rule ip netd resolver ip daddr {address} tcp dport 53 dnat to {address}:{tcp}
"""
_DELETE = "add table ip netd\ndelete table ip netd\n"


def put(address: str, udp: int, tcp: int) -> None:
    """Redirect port 53 of *address* to these ports, in the calling thread's namespace; replaces an earlier redirect."""
    with Nft() as nft:
        nft.run(_REDIRECT.format(address=address, udp=udp, tcp=tcp))


def delete() -> None:
    """Delete the redirect, if there is one."""
    if netd_tables.exist():
        with Nft() as nft:
            nft.run(_DELETE)
