"""The decision on a query: answer it from the records, forward it, or send a response without records.

Pure: no sockets, no clock, no logging.  Only the networks of the sandbox's view are searched, in their order, and the
first that has the name supplies the whole answer.  A query for a name in the records is never forwarded, whatever its
type: an upstream server would learn the name and could answer for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from netd.dns.messages import name_lookup, reverse, special_names
from netd.dns.messages.name_lookup import ServicePort
from netd.dns.messages.reverse import ReverseRange, Zones
from netd.dns.records import NetworkRecords, Upstream, View, ancestors

RESOLVER = "127.0.0.11"
_DECIDED_BY_NAME = (".arpa", ".internal", ".localhost", ".invalid")
"""Endings of names for which the whole name matters, or that are never forwarded."""


class QueryType(IntEnum):
    """The query types with a treatment of their own."""

    A = 1
    PTR = 12
    AAAA = 28
    SRV = 33
    IXFR = 251
    AXFR = 252
    ANY = 255


class Rcode(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class Question(NamedTuple):
    name: str
    """Folded; a dot inside a label is written ``\\.``, so that the name matches no record."""
    type: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer from the records; empty (NODATA) if the name exists and has no records of the query's type."""

    addresses: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    services: tuple[ServicePort, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """Forward the query: the name is not in the records."""

    upstreams: tuple[Upstream, ...] = ()
    """The upstream servers; empty means those of the host."""
    otherwise: Rcode = Rcode.SERVFAIL
    """The response code if there is no upstream server."""
    exists: bool = False
    """The records contain subdomains of the name: NXDOMAIN would deny them too (RFC 8020), so it becomes NODATA."""


@dataclass(frozen=True, slots=True)
class EmptyResponse:
    """A response without records."""

    code: Rcode


Decision: TypeAlias = Answer | Forward | EmptyResponse


def decide(
    question: Question, view: View, networks: Mapping[str, NetworkRecords], zones: Zones | None = None
) -> Decision:
    """Return the decision on a question of a sandbox with *view*; unknown networks of the view are ignored.

    *zones* are the subnets of all networks of this host; the default is the subnets of *networks*.
    """
    if question.type in (QueryType.AXFR, QueryType.IXFR):
        return EmptyResponse(Rcode.REFUSED)
    known = [networks[network] for network in view.networks if network in networks]
    if (reverse_range := reverse.parse(question.name)) is not None:
        if zones is None:
            zones = Zones(subnet for network in networks.values() for subnet in network.subnets)
        exists = _contains_subnet(reverse_range, known)
        return _by_address(question, reverse_range, known, zones) or _forward(question, view, exists)
    found = None if question.name == special_names.LOCALHOST else _by_name(question, view, known)
    found = found or _by_special_use(question)
    return found or _forward(question, view, name_lookup.is_ancestor(question.name, view, known))


def holds_for_siblings(question: Question, view: View, networks: Mapping[str, NetworkRecords]) -> bool:
    """Return True if ``Forward``, decided for *question*, holds for all names with its parent that begin with no ``_``.

    This is so if the records, links, special names and configured domains have no name at or below the parent, and no
    wildcard or network name above it.
    """
    parent = question.name.partition(".")[2]
    below = f".{parent}"
    if not parent or view.links or below.endswith(_DECIDED_BY_NAME):
        return False
    if any(domain.endswith(below) for domain, _ in view.domains):
        return False
    above = (parent, *ancestors(parent))
    for network in (networks[name] for name in view.networks if name in networks):
        if network.zone in above or network.zone.endswith(below) or any(name in network.ancestors for name in above):
            return False
    return True


def _by_name(question: Question, view: View, networks: Sequence[NetworkRecords]) -> Decision | None:
    name = question.name
    if (addresses := name_lookup.exact(name, view, networks)) is not None:
        return Answer(_of_type(addresses, question.type))
    if name in name_lookup.HOST_NAMES and view.gateways:
        return Answer(_of_type(view.gateways, question.type))
    if (service_ports := name_lookup.services(name, view, networks)) is not None:
        return Answer(services=service_ports if question.type in (QueryType.SRV, QueryType.ANY) else ())
    if name in view.links:
        return EmptyResponse(Rcode.NXDOMAIN)
    if (addresses := name_lookup.wildcard(name, networks)) is not None:
        return Answer(_of_type(addresses, question.type))
    return EmptyResponse(Rcode.NXDOMAIN) if name_lookup.is_container_service(name, view, networks) else None


def _by_special_use(question: Question) -> Decision | None:
    """Decide on the special-use names localhost and invalid (RFC 6761); the records may have names below localhost."""
    if special_names.is_loopback(question.name):
        return Answer(_of_type(special_names.LOOPBACK, question.type))
    return EmptyResponse(Rcode.NXDOMAIN) if special_names.is_invalid(question.name) else None


def _of_type(addresses: Iterable[str], query_type: int) -> tuple[str, ...]:
    if query_type == QueryType.ANY:
        return tuple(addresses)
    if query_type not in (QueryType.A, QueryType.AAAA):
        return ()
    return tuple(address for address in addresses if (":" in address) == (query_type == QueryType.AAAA))


def _by_address(
    question: Question, reverse_range: ReverseRange, networks: Sequence[NetworkRecords], zones: Zones
) -> Decision | None:
    address = reverse_range.address
    for network in networks if address else ():
        if (name := network.pointers.get(str(address))) is not None:
            return Answer(pointers=(name,) if question.type in (QueryType.PTR, QueryType.ANY) else ())
    if special_names.is_local(reverse_range) and address in special_names.LOOPBACK:
        return Answer(pointers=(special_names.LOCALHOST,) if question.type in (QueryType.PTR, QueryType.ANY) else ())
    if not (zones.contains(reverse_range) or special_names.is_local(reverse_range)):
        return None
    return EmptyResponse(Rcode.NXDOMAIN) if address or not reverse_range.exact else Answer()


def _contains_subnet(reverse_range: ReverseRange, networks: Sequence[NetworkRecords]) -> bool:
    return any(reverse_range.contains(subnet) for network in networks for subnet in network.subnets)


def _forward(question: Question, view: View, exists: bool) -> Decision:
    """Decide on a name that is not in the records.

    A view without forwarding answers NXDOMAIN.  After SERVFAIL, musl retries and waits for its whole timeout of five
    seconds for every unknown name, and glibc reports a temporary failure.  The same applies to a single label without
    an upstream server, because only container names have one label.
    """
    single = "." not in question.name and question.name != ""
    otherwise = Rcode.NXDOMAIN if single else Rcode.SERVFAIL
    if exists:
        otherwise = Rcode.NOERROR
    if view.forward and (upstreams := _of_domain(question.name, view)):
        return Forward(upstreams, otherwise, exists)
    if single and (exists or not view.single_labels) and question.type in (QueryType.A, QueryType.AAAA):
        return Answer()
    allowed = tuple(upstream for upstream in view.upstreams if upstream.inside or view.forward)
    if allowed:
        usable = tuple(upstream for upstream in allowed if not _is_this_server(upstream))
        return Forward(usable, otherwise, exists) if usable else EmptyResponse(otherwise)
    if view.forward:
        return Forward((), otherwise, exists)
    return EmptyResponse(Rcode.NOERROR if exists else Rcode.NXDOMAIN)


def _of_domain(name: str, view: View) -> tuple[Upstream, ...]:
    """Return the upstream servers of the longest configured domain that contains *name*."""
    if not view.domains:
        return ()
    domains = dict(view.domains)
    return next((domains[domain] for domain in (name, *ancestors(name)) if domain in domains), ())


def _is_this_server(upstream: Upstream) -> bool:
    """Return True for 127.0.0.11 inside a container; on the host that address may be the server of an outer netd."""
    return upstream.inside and upstream.address.lower().removeprefix("::ffff:") == RESOLVER
