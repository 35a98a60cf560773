"""What a question deserves: an answer of ours, a question to somebody else, or a refusal.

Pure: no sockets, no clock, no logging.  What exists depends on who asks: only the networks of the asker's view
are looked at, in their order, and the first that knows the name answers alone.  A name of ours is never asked
elsewhere, whatever the type, or a resolver outside would learn it and could answer for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from netd.dns.records import NetworkRecords, Upstream, View, fold

OURSELVES = "127.0.0.11"


class Type(IntEnum):
    """The record types that we tell apart."""

    A = 1
    PTR = 12
    AAAA = 28
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
    """The name is ours; both empty says that it exists and has nothing of that type."""

    addresses: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """Somebody else's name."""

    upstreams: tuple[Upstream, ...] = ()
    """Whom to ask; none means the host's resolvers."""
    otherwise: Code = Code.SERVFAIL
    """The answer when there is nobody to ask."""


@dataclass(frozen=True, slots=True)
class Refuse:
    code: Code


Decision: TypeAlias = Reply | Forward | Refuse


def decide(question: Question, view: View, networks: Mapping[str, NetworkRecords]) -> Decision:
    """Return what *question* deserves from somebody who sees *view*; networks that are not known are passed over."""
    if question.type in (Type.AXFR, Type.IXFR):
        return Refuse(Code.REFUSED)
    known = [networks[network] for network in view.networks if network in networks]
    if (address := reversed_address(question.name)) is not None:
        return _by_address(question, address, known) or _elsewhere(question, view)
    if (addresses := _by_name(question.name, view, known)) is not None:
        return Reply(_of_type(addresses, question.type))
    if question.name in view.links:
        return Refuse(Code.NXDOMAIN)
    return _elsewhere(question, view)


def _by_name(name: str, view: View, networks: Sequence[NetworkRecords]) -> tuple[str, ...] | None:
    target = fold(view.links.get(name, name))
    for network in networks:
        if (found := network.names.get(target)) is not None:
            return found
    for first, last in _splits(target):
        target = fold(view.links.get(first, first))
        for network in networks:
            if fold(network.name) == last and (found := network.names.get(target)) is not None:
                return found
    return None


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield ``a.b.c`` as (a.b, c) and (a, b.c): names and networks may both hold dots."""
    at = name.rfind(".")
    while at > 0:
        yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def _of_type(addresses: Iterable[str], wanted: int) -> tuple[str, ...]:
    if wanted == Type.ANY:
        return tuple(addresses)
    if wanted not in (Type.A, Type.AAAA):
        return ()
    return tuple(address for address in addresses if (":" in address) == (wanted == Type.AAAA))


def _by_address(question: Question, address: str, networks: Sequence[NetworkRecords]) -> Decision | None:
    for network in networks:
        if (name := network.pointers.get(address)) is not None:
            return Reply(pointers=(name,) if question.type in (Type.PTR, Type.ANY) else ())
    inside = ip_address(address)
    if any(inside in ip_network(subnet) for network in networks for subnet in network.subnets):
        return Refuse(Code.NXDOMAIN)
    return None


def reversed_address(name: str) -> str | None:
    """Return the address that a name under in-addr.arpa or ip6.arpa stands for, None if it is no whole address."""
    try:
        if name.endswith(".in-addr.arpa"):
            return str(IPv4Address(".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))))
        if name.endswith(".ip6.arpa"):
            digits = name.removesuffix(".ip6.arpa").split(".")
            if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
                return str(IPv6Address(bytes.fromhex("".join(reversed(digits)))))
    except (AddressValueError, ValueError):
        pass
    return None


def _elsewhere(question: Question, view: View) -> Decision:
    """Decide on a name that is not ours.

    Where nothing outside may be asked, no name outside exists: NXDOMAIN.  SERVFAIL would say "try again", and musl
    then asks again and waits out its whole timeout of five seconds for every unknown name, which glibc reports as
    a temporary failure.  A single label without anybody to ask is the same case, because only our names have one label.
    """
    single = "." not in question.name and question.name != ""
    if single and not view.single_labels and question.type in (Type.A, Type.AAAA):
        return Reply()
    otherwise = Code.NXDOMAIN if single else Code.SERVFAIL
    asked = tuple(upstream for upstream in view.upstreams if upstream.inside or view.forward)
    if asked:
        usable = tuple(upstream for upstream in asked if not _leads_back(upstream))
        return Forward(usable, otherwise) if usable else Refuse(otherwise)
    return Forward((), otherwise) if view.forward else Refuse(Code.NXDOMAIN)


def _leads_back(upstream: Upstream) -> bool:
    """Inside a container 127.0.0.11 is this very server; on the host it may be that of a netd around this one."""
    return upstream.inside and upstream.address.lower().removeprefix("::ffff:") == OURSELVES
