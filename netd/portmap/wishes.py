"""What a container's port options ask for, read into wishes.

Pure.  Thousands of bindings that follow one another become one wish, so that what comes after costs what the
options say and not how many ports they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from netd.api import PortBinding
from netd.common import allow
from netd.common.addresses import Address, Subnet
from netd.common.allow import Rule
from netd.common.errors import BadRequest
from netd.model import Wish

PROTOCOLS = ("tcp", "udp", "sctp")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([a-zA-Z]+))?\Z")
_HOST_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")
_HIGHEST = 65535
_Bindings = Mapping[str, Sequence[PortBinding] | None]


def exposed(texts: Iterable[str], bindings: _Bindings) -> tuple[str, ...]:
    """Return every port that is exposed or published, one by one, as ``80/tcp``, in order."""
    spans = {_span(text) for text in (*texts, *bindings)}
    ports = {(protocol, port) for first, last, protocol in spans for port in range(first, last + 1)}
    return tuple(f"{port}/{protocol}" for protocol, port in sorted(ports))


def wishes(bindings: _Bindings, every_exposed: Iterable[str] = (), rules: Sequence[Rule] = ()) -> tuple[Wish, ...]:
    """Return what *bindings* ask for, and a port of netd's choice for each of *every_exposed* that they do not name.

    *rules* say who may come to host ports of which the binding itself does not say it.  Fixed ports come before those
    that netd may choose.  Raises BadRequest naming what cannot be read or served.
    """
    found = [wish for key, given in bindings.items() for wish in _wishes(key, given, rules)]
    named = {(wish.protocol, wish.target + step) for wish in found for step in range(wish.count)}
    for text in every_exposed:
        first, _, protocol = _span(text)
        if (protocol, first) not in named:
            found.append(Wish(protocol=protocol, target=first))
    return tuple(sorted(_merged(found), key=_order))


def _order(wish: Wish) -> tuple[object, ...]:
    return (wish.port == 0 or wish.last > wish.port, wish.target, wish.protocol, wish.port, wish.last)


def _wishes(key: str, given: Sequence[PortBinding] | None, rules: Sequence[Rule]) -> Iterator[Wish]:
    first, last, protocol = _span(key)
    by_port: dict[tuple[int, int, tuple[Subnet, ...]], list[Address | None]] = {}
    for binding in given or (PortBinding(),):
        port, end = _host_ports(binding.host_port, key)
        who = _allowed(binding, key) or (allow.of_ports(rules, protocol, port, end) if rules and port else ())
        addresses = by_port.setdefault((port, end, who), [])
        if (address := _host_address(binding.host_ip, key)) not in addresses:
            addresses.append(address)
    for (port, end, who), addresses in by_port.items():
        plain = Wish(protocol=protocol, target=first, addresses=tuple(addresses), allow=who)
        yield from _paired(plain, last - first + 1, (port, end), key)


def _paired(plain: Wish, count: int, ports: tuple[int, int], key: str) -> Iterator[Wish]:
    port, end = ports
    if count > 1 and port and end - port + 1 == count:
        yield replace(plain, count=count, port=port, last=port)
    elif count == 1 or not port:
        for target in range(plain.target, plain.target + count):
            yield replace(plain, target=target, port=port, last=end)
    else:
        raise BadRequest(f"invalid ranges specified for container and host Ports: {key} and {port}-{end}")


def _allowed(binding: PortBinding, key: str) -> tuple[Subnet, ...]:
    return allow.networks(binding.allow, f"port {key}") if binding.allow else ()


def _merged(found: Iterable[Wish]) -> list[Wish]:
    """Put fixed ports that follow one another on both sides together."""
    fixed = {wish for wish in found if _is_fixed(wish)}
    runs: list[Wish] = []
    for wish in sorted(fixed, key=_run_order):
        if runs and _continues(runs[-1], wish):
            runs[-1] = replace(runs[-1], count=runs[-1].count + wish.count)
        else:
            runs.append(wish)
    return [*runs, *(wish for wish in found if not _is_fixed(wish))]


def _is_fixed(wish: Wish) -> bool:
    return 0 < wish.port == wish.last


def _run_order(wish: Wish) -> tuple[object, ...]:
    addresses, allowed = [str(one) for one in wish.addresses], [str(one) for one in wish.allow]
    return (wish.protocol, addresses, allowed, wish.target - wish.port, wish.port)


def _continues(run: Wish, wish: Wish) -> bool:
    return (run.protocol, run.addresses, run.allow, run.target + run.count, run.port + run.count) == (
        wish.protocol,
        wish.addresses,
        wish.allow,
        wish.target,
        wish.port,
    )


def _span(text: str) -> tuple[int, int, str]:
    """Return first port, last port and protocol of ``80``, ``80/tcp`` or ``80-82/udp``."""
    if (found := _PORT.match(text)) is None:
        raise BadRequest(f'invalid port "{text}": use a number, or number/protocol such as 80/tcp')
    first = int(found[1])
    last = int(found[2] or first)
    protocol = (found[3] or "tcp").lower()
    if not 0 < first <= last <= _HIGHEST:
        raise BadRequest(f'invalid port specification: "{text}": ports are 1 to 65535')
    if protocol not in PROTOCOLS:
        raise BadRequest(f'invalid port "{text}": unknown protocol {protocol}')
    return first, last, protocol


def _host_ports(text: str, key: str) -> tuple[int, int]:
    """Return the first and last host port asked for; zeros leave it open."""
    if text in ("", "0"):
        return 0, 0
    found = _HOST_PORT.match(text)
    first = int(found[1]) if found else 0
    last = int(found[2] or first) if found else 0
    if not 0 < first <= last <= _HIGHEST:
        raise BadRequest(f'invalid port specification: "{text}" as host port of {key}: ports are 1 to 65535')
    return first, last


def _host_address(text: str, key: str) -> Address | None:
    if not text:
        return None
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        raise BadRequest(f"invalid host address {text} of port {key}: it is not an IP address") from None
