"""What a question deserves: an answer of ours, a question to somebody else, or a refusal.

Pure: no sockets, no clock, no logging.  What exists depends on who asks: only the networks of the asker's view
are looked at, in their order, and the first that knows the name answers alone.  A name of ours is never asked
elsewhere, whatever the type, or a resolver outside would learn it and could answer for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from netd.dns.messages import name_lookup, reverse, special_names
from netd.dns.messages.name_lookup import ServicePort
from netd.dns.messages.reverse import ReverseRange, Zones
from netd.dns.records import NetworkRecords, Upstream, View, names_above

OURSELVES = "127.0.0.11"


class Type(IntEnum):
    """The record types that we tell apart."""

    A = 1
    PTR = 12
    AAAA = 28
    SRV = 33
    IXFR = 251
    AXFR = 252
    ANY = 255


class Code(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    """Folded; a dot inside a label is written ``\\.``, so that it matches nothing of ours."""
    type: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The name is ours; without anything it says that the name exists and has nothing of that type."""

    addresses: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    services: tuple[ServicePort, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """Somebody else's name."""

    upstreams: tuple[Upstream, ...] = ()
    """Whom to ask; none means the host's resolvers."""
    otherwise: Code = Code.SERVFAIL
    """The answer when there is nobody to ask."""
    exists: bool = False
    """Names of ours are below it, so NXDOMAIN, which denies those too, becomes an empty answer."""


@dataclass(frozen=True, slots=True)
class Refuse:
    code: Code


Decision: TypeAlias = Reply | Forward | Refuse


def decide(
    question: Question, view: View, networks: Mapping[str, NetworkRecords], zones: Zones | None = None
) -> Decision:
    """Return what *question* deserves from somebody who sees *view*; networks that are not known are passed over.

    *zones* are the subnets of all networks of this host, whoever sees them; left out, they follow from *networks*.
    """
    if question.type in (Type.AXFR, Type.IXFR):
        return Refuse(Code.REFUSED)
    known = [networks[network] for network in view.networks if network in networks]
    if (spot := reverse.spot(question.name)) is not None:
        if zones is None:
            zones = Zones(subnet for network in networks.values() for subnet in network.subnets)
        return _by_address(question, spot, known, zones) or _elsewhere(question, view, _surrounds(spot, known))
    found = None if question.name == special_names.LOCALHOST else _by_name(question, view, known)
    found = found or _everywhere(question)
    return found or _elsewhere(question, view, name_lookup.is_above(question.name, view, known))


def _by_name(question: Question, view: View, networks: Sequence[NetworkRecords]) -> Decision | None:
    name = question.name
    if (addresses := name_lookup.exact(name, view, networks)) is not None:
        return Reply(_of_type(addresses, question.type))
    if name in name_lookup.HOST and view.gateways:
        return Reply(_of_type(view.gateways, question.type))
    if (offers := name_lookup.services(name, view, networks)) is not None:
        return Reply(services=offers if question.type in (Type.SRV, Type.ANY) else ())
    if name in view.links:
        return Refuse(Code.NXDOMAIN)
    if (addresses := name_lookup.wild(name, networks)) is not None:
        return Reply(_of_type(addresses, question.type))
    return Refuse(Code.NXDOMAIN) if name_lookup.is_below_ours(name, view, networks) else None


def _everywhere(question: Question) -> Decision | None:
    """Decide on names that mean the same on all hosts; names of ours may be below localhost."""
    if special_names.is_loopback(question.name):
        return Reply(_of_type(special_names.LOOPBACK, question.type))
    return Refuse(Code.NXDOMAIN) if special_names.is_invalid(question.name) else None


def _of_type(addresses: Iterable[str], wanted: int) -> tuple[str, ...]:
    if wanted == Type.ANY:
        return tuple(addresses)
    if wanted not in (Type.A, Type.AAAA):
        return ()
    return tuple(address for address in addresses if (":" in address) == (wanted == Type.AAAA))


def _by_address(
    question: Question, spot: ReverseRange, networks: Sequence[NetworkRecords], zones: Zones
) -> Decision | None:
    address = spot.address
    for network in networks if address else ():
        if (name := network.pointers.get(str(address))) is not None:
            return Reply(pointers=(name,) if question.type in (Type.PTR, Type.ANY) else ())
    if special_names.holds(spot) and address in special_names.LOOPBACK:
        return Reply(pointers=(special_names.LOCALHOST,) if question.type in (Type.PTR, Type.ANY) else ())
    if not (zones.holds(spot) or special_names.holds(spot)):
        return None
    return Refuse(Code.NXDOMAIN) if address or not spot.exact else Reply()


def _surrounds(spot: ReverseRange, networks: Sequence[NetworkRecords]) -> bool:
    return any(spot.contains(subnet) for network in networks for subnet in network.subnets)


def _elsewhere(question: Question, view: View, exists: bool) -> Decision:
    """Decide on a name that is not ours.

    Where nothing outside may be asked, no name outside exists: NXDOMAIN.  SERVFAIL would say "try again", and musl
    then asks again and waits out its whole timeout of five seconds for every unknown name, which glibc reports as
    a temporary failure.  A single label without anybody to ask is the same case, because only our names have one label.
    """
    single = "." not in question.name and question.name != ""
    otherwise = Code.NXDOMAIN if single else Code.SERVFAIL
    if exists:
        otherwise = Code.NOERROR
    if view.forward and (others := _of_domain(question.name, view)):
        return Forward(others, otherwise, exists)
    if single and (exists or not view.single_labels) and question.type in (Type.A, Type.AAAA):
        return Reply()
    asked = tuple(upstream for upstream in view.upstreams if upstream.inside or view.forward)
    if asked:
        usable = tuple(upstream for upstream in asked if not _leads_back(upstream))
        return Forward(usable, otherwise, exists) if usable else Refuse(otherwise)
    if view.forward:
        return Forward((), otherwise, exists)
    return Refuse(Code.NOERROR if exists else Code.NXDOMAIN)


def _of_domain(name: str, view: View) -> tuple[Upstream, ...]:
    """Return who is asked for the longest configured domain that *name* is in."""
    if not view.domains:
        return ()
    domains = dict(view.domains)
    return next((domains[one] for one in (name, *names_above(name)) if one in domains), ())


def _leads_back(upstream: Upstream) -> bool:
    """Inside a container 127.0.0.11 is this very server; on the host it may be that of a netd around this one."""
    return upstream.inside and upstream.address.lower().removeprefix("::ffff:") == OURSELVES
