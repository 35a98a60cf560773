"""Source networks allowed to reach published ports: parsing of networks and of the ``netd.allow.*`` container labels.

Pure.  netd enforces the labels; a runtime parses them too, to refuse invalid labels when a container is created.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from netd.common.addresses import Subnet
from netd.common.errors import BadRequest
from netd.portmap import port_spec

LABEL = "netd.allow."


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One parsed label: host ports *first* to *last* accept connections from *networks* only."""

    label: str
    first: int
    last: int
    protocol: str
    """``tcp``, ``udp`` or ``sctp``; "" (no protocol in the label) restricts all three, so that none stays open."""
    networks: tuple[Subnet, ...]


def networks(texts: Iterable[str], what: str) -> tuple[Subnet, ...]:
    """Parse networks and plain addresses.  Raises BadRequest, with *what* as the source of the texts."""
    return tuple(dict.fromkeys(_network(text.strip(), what) for text in texts))


def rules(labels: Mapping[str, str]) -> tuple[AllowRule, ...]:
    """Parse labels ``netd.allow.<host port>[-<last>][/protocol]``.  Raises BadRequest naming an invalid label."""
    return tuple(_rule(name, text) for name, text in labels.items() if name.startswith(LABEL))


def networks_for_ports(rules: Iterable[AllowRule], protocol: str, first: int, last: int) -> tuple[Subnet, ...]:
    """Return the networks allowed to reach host ports *first* to *last*; empty means no restriction.

    Raises BadRequest if a label covers only a part of the range: the port that will be allocated from a range is not
    known in advance.
    """
    found: dict[Subnet, None] = {}
    for rule in rules:
        if rule.protocol not in ("", protocol) or rule.last < first or last < rule.first:
            continue
        if first < rule.first or rule.last < last:
            raise BadRequest(
                f"label {rule.label} is about a part of the published range {first}-{last} only:"
                f" write it as {LABEL}{first}-{last}"
            )
        found.update(dict.fromkeys(rule.networks))
    return tuple(found)


def _network(text: str, what: str) -> Subnet:
    try:
        return ip_network(text)
    except ValueError as problem:
        reason = str(problem) if "host bits" in str(problem) else "it is neither an address nor a network"
        raise BadRequest(f'invalid allow "{text}" of {what}: {reason}; use one such as 192.0.2.0/24') from None


def _rule(label: str, text: str) -> AllowRule:
    found = port_spec.parse(label.removeprefix(LABEL))
    if found is None or not found.in_bounds or found.protocol not in ("", *port_spec.PROTOCOLS):
        raise BadRequest(f"label {label} cannot be read: write it as {LABEL}8080, {LABEL}8080/tcp or {LABEL}8000-8010")
    return AllowRule(label, found.first, found.last, found.protocol, networks(text.split(","), f"label {label}"))
