"""Chains of other programs in nftables: reading them, and netd's rule at the head of those at the forward hook.

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
from netd.kernel.firewall.forwarding.extensions import Extension
from netd.kernel.firewall.nftables.nft import Nft
from netd.kernel.netlink.messages import Message, Netlink, Request, attributes, payloads, text

Condition: TypeAlias = dict[str, Any]
"""A match statement in libnftables' JSON."""
_NETFILTER, _NFTABLES = 12, 10
_GETCHAIN, _GETGEN = 4, 16
# linux/netfilter/nf_tables.h: NFTA_CHAIN_*, NFTA_HOOK_*, NFTA_GEN_ID
_TABLE, _NAME, _HOOK, _POLICY = 1, 3, 4, 5
_HOOK_NUMBER, _PRIORITY = 1, 2
_GENERATION = 1
# NFTA_RULE_*, NFTA_EXPR_*, NFTA_MATCH_* and NFTA_TARGET_*
_GETRULE, _RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 7, 1, 2, 3, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_EXTENSION_NAME, _EXTENSION_REVISION, _EXTENSION_INFO = 1, 2, 3
_HOOKS = {0: "prerouting", 2: "forward", 4: "postrouting"}
"""NF_INET_* and NF_BR_* of the hooks that forwarded packets pass."""
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
        return [chain for chain in self.read_passed() if chain.hook == "forward"]

    def read_passed(self) -> list[ForwardChain]:
        """Return the base chains of other programs that forwarded packets pass, without their rules."""
        with suppress(OSError):
            found = map(_base_chain, self._open().dump(Request(_NFTABLES << 8 | _GETCHAIN, bytes(4))))
            return [chain for chain in found if chain is not None]
        return []

    def extensions(self, chain: ForwardChain, name: str) -> dict[int, list[Extension]]:
        """Return the matches and targets of iptables-nft in the rules of a chain of the table, by the rules' handles.

        Raises OSError, also if the chain no longer exists.
        """
        family = next(number for number, word in _FAMILIES.items() if word == chain.family)
        place = text(_RULE_TABLE, chain.table) + text(_RULE_CHAIN, name)
        found = self._open().dump(Request(_NFTABLES << 8 | _GETRULE, bytes((family, 0, 0, 0)) + place))
        return dict(map(_extensions_of, found))

    def _open(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink(_NETFILTER)
        return self._netlink


def _extensions_of(message: Message) -> tuple[int, list[Extension]]:
    """Return the handle of a rule, and its extensions."""
    attrs = attributes(message.body, 4)
    found = []
    for expression in payloads(attrs.get(_RULE_EXPRESSIONS, b"")):
        parts = attributes(expression)
        if _text(parts.get(_EXPRESSION_NAME, b"")) in ("match", "target"):
            data = attributes(parts.get(_EXPRESSION_DATA, b""))
            revision = int.from_bytes(data.get(_EXTENSION_REVISION, b""))
            found.append(Extension(_text(data.get(_EXTENSION_NAME, b"")), revision, data.get(_EXTENSION_INFO, b"")))
    return int.from_bytes(attrs.get(_RULE_HANDLE, b"")), found


def _base_chain(message: Message) -> ForwardChain | None:
    attrs = attributes(message.body, 4)
    hook = attributes(attrs.get(_HOOK, b""))
    family, table = _FAMILIES.get(message.body[0]), _text(attrs.get(_TABLE, b""))
    if family is None or table == _OWN_TABLE or _HOOK_NUMBER not in hook:
        return None
    if (hook_name := _HOOKS.get(_BIG.unpack(hook[_HOOK_NUMBER])[0])) is None:
        return None
    policy = _POLICIES.get(_BIG.unpack(attrs[_POLICY])[0], "drop") if _POLICY in attrs else "accept"
    name, priority = _text(attrs.get(_NAME, b"")), _BIG.unpack(hook.get(_PRIORITY, bytes(4)))[0]
    return ForwardChain("nftables", family, table, name, priority, policy, hook=hook_name)


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
        chains |= _list(nft, found, name, {})
        rules = (rule for rule in chains.setdefault(name, ()) if rule.target and UNKNOWN not in rule.tests)
        wanted += {rule.target for rule in rules} - chains.keys() - set(wanted)
    return replace(found, chains=chains)


def rules(nft: Nft, reader: NftReader, base: ForwardChain, name: str) -> tuple[ForeignRule, ...]:
    """Return the rules of a chain of the table of *base*.  Raises KernelRefused or OSError."""
    listed = _list(nft, base, name, {}).get(name, ())
    if all(UNKNOWN not in rule.tests and not rule.effect for rule in listed):
        return listed
    return _list(nft, base, name, reader.extensions(base, name)).get(name, ())


def _list(nft: Nft, base: ForwardChain, name: str, extensions: nft_json.ByRule) -> dict[str, tuple[ForeignRule, ...]]:
    place = {"family": base.family, "table": base.table, "name": name}
    return nft_json.chains(json.loads(nft.run(_commands({"list": {"chain": place}}))), extensions)


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
