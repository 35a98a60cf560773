"""Forward chains of other programs in nftables: reading them, and netd's rule at their head.

Owns the rules with netd's comment in chains of other programs.  Must not change another rule, chain or table.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

from netd.kernel.firewall.forwarding import nft_json
from netd.kernel.firewall.forwarding.chains import COMMENT, UNKNOWN, ForeignRule, ForwardChain
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.netlink.messages import Message, Netlink, Request, attributes

Condition: TypeAlias = dict[str, Any]
"""A match statement in libnftables' JSON."""
_NETFILTER, _NFTABLES = 12, 10
_GETCHAIN, _GETGEN = 4, 16
# linux/netfilter/nf_tables.h: NFTA_CHAIN_*, NFTA_HOOK_*, NFTA_GEN_ID
_TABLE, _NAME, _HOOK, _POLICY = 1, 3, 4, 5
_HOOK_NUMBER, _PRIORITY = 1, 2
_GENERATION = 1
_FORWARD = 2
"""NF_INET_FORWARD and NF_BR_FORWARD."""
_FAMILIES = {1: "inet", 2: "ip", 7: "bridge", 10: "ip6"}
_MOST_CHAINS = 256
_OWN_TABLE = "netd"
_POLICIES = {0: "drop", 1: "accept"}
_BIG = struct.Struct(">i")


class NftReader:
    """Reads the chains of other programs by one socket, which stays open.

    When a netfilter socket is closed, the kernel first destroys what earlier transactions have deleted, and waits for
    all processors, which takes 10 ms.
    """

    def __init__(self) -> None:
        self._netlink: Netlink | None = None

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def generation(self) -> bytes:
        """Return a number that changes with each transaction, or b"" if the kernel has no nftables."""
        with suppress(OSError):
            found = self._open().get(Request(_NFTABLES << 8 | _GETGEN, bytes(4)))
            return attributes(found[0].body, 4).get(_GENERATION, b"") if found else b""
        return b""

    def read(self) -> list[ForwardChain]:
        """Return the forward chains of other programs, without their rules; [] if the kernel has no nftables."""
        with suppress(OSError):
            found = map(_forward_chain, self._open().dump(Request(_NFTABLES << 8 | _GETCHAIN, bytes(4))))
            return [chain for chain in found if chain is not None]
        return []

    def _open(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink(_NETFILTER)
        return self._netlink


def _forward_chain(message: Message) -> ForwardChain | None:
    attrs = attributes(message.body, 4)
    hook = attributes(attrs.get(_HOOK, b""))
    family, table = _FAMILIES.get(message.body[0]), _text(attrs.get(_TABLE, b""))
    if family is None or table == _OWN_TABLE or _HOOK_NUMBER not in hook:
        return None
    if _BIG.unpack(hook[_HOOK_NUMBER])[0] != _FORWARD:
        return None
    policy = _POLICIES.get(_BIG.unpack(attrs[_POLICY])[0], "drop") if _POLICY in attrs else "accept"
    name, priority = _text(attrs.get(_NAME, b"")), _BIG.unpack(hook.get(_PRIORITY, bytes(4)))[0]
    return ForwardChain("nftables", family, table, name, priority, policy)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def with_rules(nft: Nft, found: ForwardChain) -> ForwardChain:
    """Return the chain with its rules, and those of the chains to which it jumps under conditions that are known.

    Lists each chain alone: listing a table of 10,000 rules takes a second.  Raises KernelRefused, also if the chain no
    longer exists.
    """
    chains: dict[str, tuple[ForeignRule, ...]] = {}
    wanted = [found.name]
    while wanted and len(chains) < _MOST_CHAINS:
        name = wanted.pop()
        place = {"family": found.family, "table": found.table, "name": name}
        chains |= nft_json.chains(json.loads(nft.run(_commands({"list": {"chain": place}}))))
        rules = (rule for rule in chains.setdefault(name, ()) if rule.target and UNKNOWN not in rule.tests)
        wanted += {rule.target for rule in rules} - chains.keys() - set(wanted)
    return replace(found, chains=chains)


def insert(nft: Nft, chain: ForwardChain, condition: Condition) -> None:
    """Add netd's rule at the head of the chain and delete its former rules there, in one transaction.

    Raises KernelRefused.
    """
    # The form in which iptables-nft itself writes such a rule: it lists no other.
    expressions = [condition, {"counter": {"packets": 0, "bytes": 0}}, {"accept": None}]
    rule = {**_place(chain), "comment": COMMENT, "expr": expressions}
    nft.run(_commands(*_deletions(chain), {"insert": {"rule": rule}}))


def delete(nft: Nft, chain: ForwardChain) -> None:
    """Delete netd's rules from the chain.  Raises KernelRefused."""
    nft.run(_commands(*_deletions(chain)))


def _deletions(chain: ForwardChain) -> Iterator[dict[str, Any]]:
    for rule in chain.own_rules:
        yield {"delete": {"rule": {**_place(chain), "handle": rule.handle}}}


def marked(bits: int) -> Condition:
    """Return the condition that these bits of the packet's mark are set."""
    return {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, bits]}, "right": bits}}


def arrived_by(pattern: str) -> Condition:
    """Return the condition that a frame arrived by a link; a final * of the name stands for any characters."""
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": pattern}}


def _place(chain: ForwardChain) -> dict[str, Any]:
    return {"family": chain.family, "table": chain.table, "chain": chain.name}


def _commands(*commands: dict[str, Any]) -> str:
    """Return a script in JSON, which also expresses names that the text language does not."""
    return json.dumps({"nftables": commands})
