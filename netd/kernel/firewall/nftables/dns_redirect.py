"""The redirect to the resolver inside a sandbox, by the sandbox's own nftables.

Owns the table ``ip netd`` of the sandbox's namespace.  The rules change the ports of queries and answers and need no
connection tracking, which would take time for every packet of the container.  A container that uses connection
tracking itself sees connections to port 53: queries are changed after destination NAT, answers before tracking.
"""

from __future__ import annotations

import re

from netd.common.errors import KernelRefused
from netd.kernel.firewall.nftables import netd_tables
from netd.kernel.firewall.nftables.nft import Nft

# A script in a new libnftables context takes 0.6 ms.  Prepared nfnetlink messages would save 0.5 ms of a container's
# start and be unreadable.
# The chains are flushed, not deleted and added: when the context is closed, the kernel waits 16 ms for objects that a
# transaction deleted, and the chains of a new namespace have nothing to flush.
_REDIRECT = """
add table ip netd
add chain ip netd queries {{ type filter hook output priority -99; policy accept; }}
add chain ip netd answers {{ type filter hook output priority -300; policy accept; }}
flush chain ip netd queries
flush chain ip netd answers
add rule ip netd queries ip daddr != {address} accept
add rule ip netd queries udp dport 53 meta mark != {mark} udp dport set {udp}
add rule ip netd queries tcp dport 53 meta mark != {mark} tcp dport set {tcp}
add rule ip netd answers ip saddr != {address} accept
add rule ip netd answers ip daddr {address} udp sport {udp} udp dport 53 meta mark set {mark}
add rule ip netd answers ip daddr {address} tcp sport {tcp} tcp dport 53 meta mark set {mark}
add rule ip netd answers udp sport {udp} udp sport set 53
add rule ip netd answers tcp sport {tcp} tcp sport set 53
"""
_MARK = 0x6E65_7464
"""Packet mark of answers to a client that is bound to port 53 of the same address: they look like queries."""
_DELETE = "add table ip netd\ndelete table ip netd\n"
_FORMER = "resolver"
"""The chain of earlier versions, whose rules were destination NAT."""
_FORMER_RULE = re.compile(r"ip daddr (\S+) (udp|tcp) dport \S+ dnat to [^\s:]+:(\d+)")


def put(address: str, udp: int, tcp: int) -> None:
    """Redirect port 53 of *address* to these ports, in the calling thread's namespace; replaces an earlier redirect."""
    with Nft() as nft:
        nft.run(_REDIRECT.format(address=address, udp=udp, tcp=tcp, mark=_MARK))


def upgrade() -> None:
    """Replace the redirect of an earlier version by one to the same ports, if there is one.

    Queries that are not answered yet, and connections, continue: their answers pass the new rules.
    """
    if not netd_tables.has_chain(_FORMER):
        return
    with Nft() as nft:
        found = _FORMER_RULE.findall(nft.run(f"list chain ip netd {_FORMER}"))
        ports = {protocol: (address, int(port)) for address, protocol, port in found}
        if set(ports) != {"udp", "tcp"}:
            raise KernelRefused("the DNS redirect of an earlier version cannot be read: restart the container")
        address, udp = ports["udp"]
        script = _REDIRECT.format(address=address, udp=udp, tcp=ports["tcp"][1], mark=_MARK)
        nft.run(f"{script}flush chain ip netd {_FORMER}\ndelete chain ip netd {_FORMER}\n")


def exists() -> bool:
    """Return whether there is a redirect of this backend; does not load libnftables."""
    return netd_tables.exist()


def delete() -> None:
    """Delete the redirect, if there is one."""
    if exists():
        with Nft() as nft:
            nft.run(_DELETE)
