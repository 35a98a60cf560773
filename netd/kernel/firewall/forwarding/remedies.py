"""The command that makes a chain of another program forward netd's packets.  Pure."""

from __future__ import annotations

from netd.kernel.firewall.forwarding.chains import ForwardChain
from netd.kernel.firewall.forwarding.flows import OWN_NAMES


def manager(chain: ForwardChain) -> str:
    """Return the program that manages the chain: ufw, firewalld, iptables, iptables-legacy or nft."""
    if any(name.startswith(("ufw-", "ufw6-")) for name in chain.chains):
        return "ufw"
    if chain.table == "firewalld" or "FORWARD_ZONES" in chain.chains:
        return "firewalld"
    if chain.kind == "iptables-legacy":
        return "iptables-legacy"
    if chain.family in ("ip", "ip6") and (chain.table, chain.name) == ("filter", "FORWARD"):
        return "iptables"
    return "nft"


def remedy(chain: ForwardChain, bridge: str, fwmark: int) -> str:
    """Return a shell command that permits the traffic of the bridge, and of others with names that netd chose.

    With *fwmark*, the bits of ``accept_fwmark``, the command permits what netd's rules admit.
    """
    own = bridge.startswith(OWN_NAMES)
    program = manager(chain)
    names = f"{OWN_NAMES}+" if own else bridge
    match program:
        case "ufw":
            return f"ufw route allow in on {names} && ufw route allow out on {names}"
        case "firewalld":
            change = f"firewall-cmd --permanent --zone=trusted --add-interface={names}"
            return f"{change} && firewall-cmd --reload"
        case "nft":
            return _nft(chain, f"{OWN_NAMES}*" if own else bridge, fwmark)
    tool = program.replace("iptables", "ip6tables") if chain.family == "ip6" else program
    if fwmark:
        return f"{tool} -I FORWARD -m mark --mark {fwmark:#x}/{fwmark:#x} -j ACCEPT"
    return f"{tool} -I FORWARD -i {names} -j ACCEPT && {tool} -I FORWARD -o {names} -j ACCEPT"


def _nft(chain: ForwardChain, names: str, fwmark: int) -> str:
    place = f"insert rule {chain.family} {chain.table} {chain.name}"
    if chain.family == "bridge":
        return f"nft '{place} iifname \"nd*\" accept'"
    if fwmark:
        return f"nft '{place} meta mark and {fwmark:#x} == {fwmark:#x} accept'"
    return f'nft \'{place} iifname "{names}" accept; {place} oifname "{names}" accept\''
