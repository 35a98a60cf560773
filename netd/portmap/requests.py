"""Parsing of a container's port options into port requests.  Pure.

Thousands of consecutive bindings become one request, so that the cost of later steps depends on the number of ranges
and not on the number of ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from netd.api import PortBinding
from netd.common import allow
from netd.common.addresses import Address, Subnet
from netd.common.allow import AllowRule
from netd.common.errors import BadRequest
from netd.model import PortRequest
from netd.portmap import port_spec
from netd.portmap.port_spec import HIGHEST, PROTOCOLS

_DIGITS = 5
_ANY_PORT = (PortBinding(),)
_Bindings = Mapping[str, Sequence[PortBinding] | None]
_PortRun = tuple[int, int, int]
"""Offset of the container's ports from the host's, first host port, and number of ports."""


def exposed(texts: Iterable[str], bindings: _Bindings) -> tuple[str, ...]:
    """Return all exposed and published ports in order: ``80/tcp``, and ``7000-7499/tcp`` for consecutive ports."""
    ports: dict[str, set[int]] = {}
    for text in {*texts, *bindings}:
        first, last, protocol = _span(text)
        ports.setdefault(protocol, set()).update(range(first, last + 1))
    return tuple(text for protocol in sorted(ports) for text in _runs(protocol, sorted(ports[protocol])))


def _runs(protocol: str, ports: Sequence[int]) -> Iterator[str]:
    start = 0
    for at, port in enumerate(ports, 1):
        if at == len(ports) or ports[at] != port + 1:
            first = ports[start]
            yield f"{first}/{protocol}" if first == port else f"{first}-{port}/{protocol}"
            start = at


def port_requests(
    bindings: _Bindings, every_exposed: Iterable[str] = (), rules: Sequence[AllowRule] = ()
) -> tuple[PortRequest, ...]:
    """Return the requests of *bindings*, and one with any host port for each port of *every_exposed* without binding.

    *rules* restrict the sources of connections for bindings without a restriction of their own.  Requests with fixed
    ports are first.  Raises BadRequest naming the invalid option.
    """
    plain: dict[str, set[_PortRun]] = {protocol: set() for protocol in PROTOCOLS}
    found: list[PortRequest] = []
    for key, given in bindings.items():
        if (run := _plain(key, given)) is not None and not rules:
            plain[run[0]].add(run[1])
        else:
            found += _requests(key, given, rules)
    for protocol, runs in plain.items():
        found += _with_runs(PortRequest(protocol=protocol, target=0), runs)
    found += _unpublished(every_exposed, found) if every_exposed else ()
    return tuple(sorted(_merged(found), key=_order))


def _unpublished(every_exposed: Iterable[str], found: Iterable[PortRequest]) -> list[PortRequest]:
    named = {
        (port_request.protocol, port_request.target + step)
        for port_request in found
        for step in range(port_request.count)
    }
    spans = (_span(text) for text in every_exposed)
    every = [(kind, port) for first, last, kind in spans for port in range(first, last + 1)]
    return [PortRequest(protocol=kind, target=port) for kind, port in every if (kind, port) not in named]


def _order(port_request: PortRequest) -> tuple[object, ...]:
    return (
        port_request.port == 0 or port_request.last > port_request.port,
        port_request.target,
        port_request.protocol,
        port_request.port,
        port_request.last,
    )


def _plain(key: str, given: Sequence[PortBinding] | None) -> tuple[str, _PortRun] | None:
    """Return protocol and run of one port with one fixed host port, no host address and no restrictions; else None."""
    if not given or len(given) > 1 or given[0].host_ip or given[0].allow:
        return None
    port, end = _host_ports(given[0].host_port, key)
    first, last, protocol = _span(key)
    return (protocol, (first - port, port, 1)) if 0 < port == end and first == last else None


def _requests(key: str, given: Sequence[PortBinding] | None, rules: Sequence[AllowRule]) -> Iterator[PortRequest]:
    first, last, protocol = _span(key)
    by_port: dict[tuple[int, int, tuple[Subnet, ...]], tuple[Address | None, ...]] = {}
    for binding in given or _ANY_PORT:
        port, end = _host_ports(binding.host_port, key)
        allowed = _allowed(binding, key) or (
            allow.networks_for_ports(rules, protocol, port, end) if rules and port else ()
        )
        address = _host_address(binding.host_ip, key)
        addresses = by_port.get((port, end, allowed), ())
        if address not in addresses:
            by_port[port, end, allowed] = (*addresses, address)
    for (port, end, allowed), addresses in by_port.items():
        if first == last:
            yield PortRequest(protocol=protocol, target=first, port=port, last=end, addresses=addresses, allow=allowed)
        else:
            plain = PortRequest(protocol=protocol, target=first, addresses=addresses, allow=allowed)
            yield from _paired(plain, last - first + 1, (port, end), key)


def _paired(plain: PortRequest, count: int, ports: tuple[int, int], key: str) -> Iterator[PortRequest]:
    port, end = ports
    if port and end - port + 1 == count:
        yield replace(plain, count=count, port=port, last=port)
    elif not port:
        for target in range(plain.target, plain.target + count):
            yield replace(plain, target=target, port=port, last=end)
    else:
        raise BadRequest(f"invalid ranges specified for container and host Ports: {key} and {port}-{end}")


def _allowed(binding: PortBinding, key: str) -> tuple[Subnet, ...]:
    return allow.networks(binding.allow, f"port {key}") if binding.allow else ()


def _merged(found: Sequence[PortRequest]) -> list[PortRequest]:
    """Merge requests with consecutive fixed ports on both sides; duplicates are dropped."""
    kinds: dict[tuple[object, ...], tuple[PortRequest, set[_PortRun]]] = {}
    for port_request in found:
        if port_request.fixed:
            kind = kinds.setdefault(
                (port_request.protocol, port_request.addresses, port_request.allow), (port_request, set())
            )
            kind[1].add((port_request.target - port_request.port, port_request.port, port_request.count))
    runs = [run for port_request, ports in kinds.values() for run in _with_runs(port_request, ports)]
    return [*runs, *(port_request for port_request in found if not port_request.fixed)]


def _with_runs(port_request: PortRequest, runs: Iterable[_PortRun]) -> list[PortRequest]:
    return [
        replace(port_request, target=port + shift, port=port, last=port, count=count)
        for shift, port, count in _joined(sorted(runs))
    ]


def _joined(ports: Iterable[_PortRun]) -> list[_PortRun]:
    runs: list[_PortRun] = []
    for shift, port, count in ports:
        if runs and (shift, port) == (runs[-1][0], runs[-1][1] + runs[-1][2]):
            runs[-1] = (shift, runs[-1][1], runs[-1][2] + count)
        else:
            runs.append((shift, port, count))
    return runs


def _span(text: str) -> tuple[int, int, str]:
    """Return first port, last port and protocol of ``80``, ``80/tcp`` or ``80-82/udp``."""
    number, _, kind = text.partition("/")
    if (
        kind in PROTOCOLS
        and number.isascii()
        and number.isdecimal()
        and len(number) <= _DIGITS
        and 0 < (port := int(number)) <= HIGHEST
    ):
        return port, port, kind
    if (found := port_spec.parse(text)) is None:
        raise BadRequest(f'invalid port "{text}": use a number, or number/protocol such as 80/tcp')
    protocol = (found.protocol or "tcp").lower()
    if not found.in_bounds:
        raise BadRequest(f'invalid port specification: "{text}": ports are 1 to 65535')
    if protocol not in PROTOCOLS:
        raise BadRequest(f'invalid port "{text}": unknown protocol {protocol}')
    return found.first, found.last, protocol


def _host_ports(text: str, key: str) -> tuple[int, int]:
    """Return the first and last host port; zeros for any port."""
    if text in ("", "0"):
        return 0, 0
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS and 0 < (port := int(text)) <= HIGHEST:
        return port, port
    found = port_spec.parse(text)
    if found is None or found.protocol or not found.in_bounds:
        raise BadRequest(f'invalid port specification: "{text}" as host port of {key}: ports are 1 to 65535')
    return found.first, found.last


def _host_address(text: str, key: str) -> Address | None:
    if not text:
        return None
    try:
        found = ip_address(text.strip("[]"))
    except ValueError:
        raise BadRequest(f"invalid host address {text} of port {key}: it is not an IP address") from None
    if found.version == 6 and found.is_link_local:
        raise BadRequest(
            f"invalid host address {text} of port {key}: packets to a link-local address cannot be forwarded to a"
            " container; use another address of the host"
        )
    return found
