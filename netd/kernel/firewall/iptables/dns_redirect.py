"""The redirect to the resolver inside a sandbox, by the sandbox's own legacy tables.

Owns the chain ``NETD-OUTPUT`` of the table nat in the sandbox's namespace.  Takes no lock: the lock of the host's
programs does not concern the tables of this namespace, and a program that holds it must not delay a container's start.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from netd.kernel.firewall.iptables import table_info, tables
from netd.kernel.firewall.iptables.entry import Dnat, Rule
from netd.kernel.firewall.iptables.layout import PREFIX, Content

_TABLE = "nat"


def put(address: str, udp: int, tcp: int) -> None:
    """Redirect port 53 of *address* to these ports, in the calling thread's namespace; replaces an earlier redirect."""
    resolver = ip_address(address)
    rules = [
        Rule(target=Dnat(resolver, port), destination=ip_network(resolver), protocol=protocol, ports=(53, 53))
        for protocol, port in (("udp", udp), ("tcp", tcp))
    ]
    tables.write(4, _TABLE, Content({f"{PREFIX}OUTPUT": rules}), lock=False)


def exists() -> bool:
    """Return whether there is a redirect of this backend; does not load python-iptables."""
    return _TABLE in table_info.with_chain_prefix(4, PREFIX.encode())


def delete() -> None:
    """Delete the redirect, if there is one."""
    if exists():
        tables.write(4, _TABLE, Content(), lock=False)
