"""The way to the resolver inside a sandbox, by the sandbox's own legacy tables."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from netd.kernel.firewall.iptables import table_info, tables
from netd.kernel.firewall.iptables.entry import Dnat, Rule
from netd.kernel.firewall.iptables.layout import PREFIX, Content

_TABLE = "nat"


def put(address: str, udp: int, tcp: int) -> None:
    """Lead port 53 of the address to these ports, in the calling thread's namespace; replaces an earlier lead."""
    there = ip_address(address)
    rules = [
        Rule(then=Dnat(there, port), destination=ip_network(there), protocol=protocol, ports=(53, 53))
        for protocol, port in (("udp", udp), ("tcp", tcp))
    ]
    tables.write(4, _TABLE, Content({f"{PREFIX}OUTPUT": rules}))


def is_there() -> bool:
    """Tell whether there is a lead of this kind, without python-iptables."""
    return _TABLE in table_info.with_chain_prefix(4, PREFIX.encode())


def clear() -> None:
    """Take the lead away, if there is one."""
    if is_there():
        tables.write(4, _TABLE, Content())
