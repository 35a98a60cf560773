"""Rules in libnftables' JSON as values.  Pure.  Expressions that are not known here become conditions not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeAlias

from netd.kernel.firewall.forwarding.chains import COMMENT, UNKNOWN, ForeignRule, Test, Value
from netd.kernel.firewall.forwarding.extensions import Effect, Extension, condition
from netd.kernel.firewall.forwarding.extensions import effect as target_effect

_VERDICTS = ("accept", "drop", "reject", "queue", "return", "jump", "goto")
_META = {"iifname": "iifname", "oifname": "oifname", "iif": "iifname", "oif": "oifname", "ibrname": "ibrname"}
_META |= {"obrname": "obrname", "mark": "mark", "nfproto": "nfproto"}
_CONDITIONS = ("limit", "quota", "connlimit", "ct count")
"""Statements that end the evaluation of a rule depending on something that is not known."""
_NEGATIONS = {"==": False, "in": False, "!=": True}
_WHOLE_MARK = 0xFFFFFFFF
_NEUTRAL = ("counter", "notrack", "comment")
"""Statements without an effect on the packet."""
ByRule: TypeAlias = Mapping[int, Sequence[Extension]]
"""The matches and targets of iptables in the rules, in their order, by the rules' handles."""


def chains(listed: Mapping[str, Any], extensions: ByRule) -> dict[str, tuple[ForeignRule, ...]]:
    """Return the rules of each chain in the output of ``nft -j list chain``.

    *extensions* are those of iptables-nft, of which libnftables lists names only.
    """
    found: dict[str, list[ForeignRule]] = {}
    for item in listed.get("nftables", ()):
        if "chain" in item:
            found.setdefault(item["chain"]["name"], [])
        elif "rule" in item:
            found.setdefault(item["rule"]["chain"], []).extend(_rules(item["rule"], extensions))
    return {name: tuple(rules) for name, rules in found.items()}


def _rules(item: Mapping[str, Any], extensions: ByRule) -> Iterator[ForeignRule]:
    """Yield the rule, as one value for each verdict of a verdict map."""
    handle, own = item.get("handle", 0), item.get("comment") == COMMENT
    tests: list[Test] = []
    effect = Effect()
    left = list(extensions.get(handle, ()))
    for statement in item.get("expr", ()):
        name, body = next(iter(statement.items()), ("", None))
        body = body if isinstance(body, dict) else {}
        if name == "vmap":
            yield from _mapped(body, tests, handle, effect)
            return
        if name in _VERDICTS:
            target = body.get("target", "") if name in ("jump", "goto") else ""
            yield ForeignRule(tuple(tests), name, target, handle, own, effect.effect, effect.leads_to)
            return
        found = _statement(name, body, item.get("family", ""), left)
        if isinstance(found, Test):
            tests.append(found)
        elif found is not None and not effect.effect:
            effect = found
        if effect.verdict:
            break
    yield ForeignRule(tuple(tests), effect.verdict, "", handle, own, effect.effect, effect.leads_to)


def _statement(name: str, body: Mapping[str, Any], family: str, left: list[Extension]) -> Test | Effect | None:
    """Return the condition or the effect of a statement, if it has any; takes the extension from those *left*."""
    if name == "xt":
        known = left.pop(0) if left else None
        if known is None or known.name != body.get("name"):
            known = Extension(str(body.get("name")), -1, b"")
        if body.get("type") == "match":
            return condition(known)
        return target_effect(known, 6 if family == "ip6" else 4)
    if name in ("dnat", "snat", "masquerade", "redirect"):
        return Effect(effect=name, leads_to=_network(body.get("addr")))
    return _test(name, body) or (None if name in _NEUTRAL or name == "match" else Effect(effect=name or "?"))


def _mapped(body: Mapping[str, Any], tests: list[Test], handle: int, effect: Effect) -> Iterator[ForeignRule]:
    """Yield one rule for each element of an anonymous verdict map; of a named map, the elements are not known."""
    data = body.get("data")
    elements = data.get("set", ()) if isinstance(data, dict) else ()
    for key, verdict in (pair for pair in elements if isinstance(pair, list) and len(pair) == 2):
        [(name, target)] = verdict.items()
        found = _field(body.get("key"))
        test = Test(found, tuple(_values(found, key, _WHOLE_MARK))) if found else UNKNOWN
        chain = target.get("target", "") if name in ("jump", "goto") else ""
        yield ForeignRule((*tests, test), name, chain, handle, False, effect.effect)
    if not elements:
        yield ForeignRule((*tests, UNKNOWN), "", "", handle, False, "verdicts of a map")


def _test(name: str, body: Mapping[str, Any]) -> Test | None:
    """Return the condition of a statement; None for statements that are none, such as counters."""
    if name == "match":
        return _match(body)
    return UNKNOWN if name in _CONDITIONS else None


def _match(body: Mapping[str, Any]) -> Test:
    left, mask = body.get("left"), _WHOLE_MARK
    if isinstance(left, dict) and "&" in left and isinstance(left["&"], list):
        left, mask = left["&"][0], left["&"][1]
    name, negated = _field(left), _NEGATIONS.get(str(body.get("op")))
    if not name or negated is None or not isinstance(mask, int):
        return UNKNOWN
    return Test(name, tuple(_values(name, body.get("right"), mask)), negated)


def _field(key: Any) -> str:
    """Return the name of a field of a packet; "" if nothing is known of it."""
    if not isinstance(key, dict):
        return ""
    if "meta" in key:
        return _META.get(key["meta"].get("key", ""), "")
    if "ct" in key and "dir" not in key["ct"]:
        return {"state": "state", "status": "status"}.get(key["ct"].get("key", ""), "")
    if "fib" in key and key["fib"].get("result") == "type" and key["fib"].get("flags") in ("daddr", ["daddr"]):
        return "daddrtype"
    if "payload" in key and key["payload"].get("protocol") in ("ip", "ip6"):
        return {"saddr": "saddr", "daddr": "daddr"}.get(key["payload"].get("field", ""), "")
    return ""


def _values(name: str, right: Any, mask: int) -> Iterator[Value]:
    """Yield the values that a field is compared with; none if one of them is not known."""
    listed = right.get("set") if isinstance(right, dict) and "set" in right else right
    found = [_value(name, value, mask) for value in (listed if isinstance(listed, list) else [listed])]
    if all(value is not None for value in found):
        yield from (value for value in found if value is not None)


def _value(name: str, value: Any, mask: int) -> Value | None:
    if name == "mark":
        return (mask, value) if isinstance(value, int) else None
    if name in ("saddr", "daddr"):
        return _network(value)
    return value if isinstance(value, str) and not value.startswith("@") else None


def _network(value: Any) -> IPv4Network | IPv6Network | None:
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix'].get('addr')}/{value['prefix'].get('len')}"
    try:
        return ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None
