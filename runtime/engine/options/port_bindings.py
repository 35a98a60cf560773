"""The published ports in a container's record, as people add to them and take from them.  Pure.

Kept in the words of ``HostConfig.PortBindings``, so that inspect shows them and every start publishes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

import msgspec

from netd.api import PortBinding, PortBindings
from runtime.container_config import HostConfig

_EVERY = {"0.0.0.0", "::"}


def added(host: HostConfig, more: PortBindings) -> HostConfig:
    """Return the host's part of the record with *more* published."""
    found = _singles(host.port_bindings or {})
    for key, bindings in _singles(more).items():
        there = found.setdefault(key, [])
        there += [one for one in bindings if one not in there]
    return msgspec.structs.replace(host, port_bindings=dict(found))


def removed(host: HostConfig, exposed: Sequence[str], less: PortBindings, given: PortBindings) -> HostConfig:
    """Return it with *less* published; an empty host address or port there stands for any.

    *given* is what is published now, by which ports of netd's choice are known.  Where all exposed ports were to be
    published, those that stay are written down one by one, or the next start would bring all of them back.
    """
    found = _singles(host.port_bindings or {})
    if host.publish_all_ports:
        for key in _singles({port: [] for port in exposed}):
            found.setdefault(key, [PortBinding()])
    for key, parts in _singles(less).items():
        for part in parts:
            found[key] = [left for one in found.get(key, ()) for left in _without(one, part, given.get(key) or ())]
    kept: PortBindings = {key: bindings for key, bindings in found.items() if bindings}
    return msgspec.structs.replace(host, port_bindings=kept, publish_all_ports=False)


def explicit(bindings: PortBindings | None) -> PortBindings | None:
    """Return the bindings with an open one where there is none, as Docker stores them."""
    return bindings and {key: many or [PortBinding()] for key, many in bindings.items()}


def shown(host_bindings: PortBindings) -> PortBindings:
    """Return the bindings port by port, as Docker's clients know them."""
    if not any("-" in key for key in host_bindings):
        return host_bindings
    return dict(_singles(host_bindings))


def each(exposed: Iterable[str]) -> Iterator[str]:
    """Yield every exposed port by itself."""
    for text in exposed:
        if "-" not in text:
            yield text
            continue
        for first, last, protocol in spans([text]):
            yield from (f"{port}/{protocol}" for port in range(first, last + 1))


def spans(texts: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Yield first port, last port and protocol of keys such as ``80``, ``80/tcp`` and ``80-82/udp``."""
    for text in texts:
        ports, _, protocol = text.partition("/")
        first, _, last = ports.partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            yield int(first), int(last or first), protocol.lower() or "tcp"


def _singles(bindings: Mapping[str, list[PortBinding] | None]) -> dict[str, list[PortBinding]]:
    """Return the bindings port by port, so that one of a range can go."""
    found: dict[str, list[PortBinding]] = {}
    for key, many in bindings.items():
        for first, last, protocol in spans([key]):
            for step in range(last - first + 1):
                there = found.setdefault(f"{first + step}/{protocol}", [])
                there += [_single(one, step, last - first) for one in many or [PortBinding()]]
    return found


def _single(one: PortBinding, step: int, steps: int) -> PortBinding:
    first, dash, _ = one.host_port.partition("-")
    if not (dash and steps):
        return one
    return msgspec.structs.replace(one, host_port=str(int(first) + step))


def _without(one: PortBinding, part: PortBinding, given: Sequence[PortBinding]) -> list[PortBinding]:
    """Return what is left of a binding; of one at every address, taking one family leaves the other if it has it."""
    if not _is_of(one, part, given):
        return [one]
    others = {each.host_ip for each in given} & _EVERY - {part.host_ip}
    if one.host_ip or not part.host_ip:
        return []
    return [msgspec.structs.replace(one, host_ip=address) for address in sorted(others)]


def _is_of(one: PortBinding, part: PortBinding, given: Sequence[PortBinding]) -> bool:
    """Tell whether *part* takes something from a binding."""
    every = one.host_ip == "" and part.host_ip in _EVERY
    if part.host_ip and not every and not _same(one.host_ip, part.host_ip):
        return False
    if part.host_port in ("", "0") or part.host_port == one.host_port:
        return True
    if one.host_port not in ("", "0") and "-" not in one.host_port:
        return False
    first, _, last = one.host_port.partition("-")
    chosen = any(each.host_port == part.host_port for each in given)
    return chosen and (not last or int(first) <= int(part.host_port) <= int(last))


def _same(one: str, other: str) -> bool:
    return bool(one) and ip_address(one.strip("[]")) == ip_address(other.strip("[]"))
