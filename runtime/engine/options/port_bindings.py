"""Adds and removes published ports in a container's record.  Pure.

The record keeps them as ``HostConfig.PortBindings``: inspect shows them, and every start publishes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

import msgspec

from netd.api import PortBinding, PortBindings
from netd.portmap import port_spec
from runtime.container_config import HostConfig

_UNSPECIFIED = {"0.0.0.0", "::"}


def add(host: HostConfig, bindings: PortBindings) -> HostConfig:
    """Return *host* with *bindings* added."""
    result = _per_port(host.port_bindings or {})
    for key, port_bindings in _per_port(bindings).items():
        present = result.setdefault(key, [])
        present += [binding for binding in port_bindings if binding not in present]
    return msgspec.structs.replace(host, port_bindings=dict(result))


def remove(host: HostConfig, exposed: Sequence[str], removals: PortBindings, published: PortBindings) -> HostConfig:
    """Return *host* without *removals*; an empty host address or port in *removals* matches any.

    *published* are the current bindings, which hold the host ports that netd chose.  With ``PublishAllPorts``, the
    remaining ports are written out and the option is cleared, or the next start would publish all of them again.
    """
    result = _per_port(host.port_bindings or {})
    if host.publish_all_ports:
        for key in _per_port({port: [] for port in exposed}):
            result.setdefault(key, [PortBinding()])
    for key, port_removals in _per_port(removals).items():
        for removal in port_removals:
            current = published.get(key) or ()
            result[key] = [left for binding in result.get(key, ()) for left in _without(binding, removal, current)]
    kept: PortBindings = {key: bindings for key, bindings in result.items() if bindings}
    return msgspec.structs.replace(host, port_bindings=kept, publish_all_ports=False)


def with_default_bindings(bindings: PortBindings | None) -> PortBindings | None:
    """Return *bindings* with an empty binding for each port that has none, as Docker stores them."""
    return bindings and {key: port_bindings or [PortBinding()] for key, port_bindings in bindings.items()}


def without_ranges(host_bindings: PortBindings) -> PortBindings:
    """Return the bindings with ranges split into single ports, as Docker's clients expect them."""
    if not any("-" in key for key in host_bindings):
        return host_bindings
    return dict(_per_port(host_bindings))


def single_ports(exposed: Iterable[str]) -> Iterator[str]:
    """Yield every exposed port; ranges are split into single ports."""
    for text in exposed:
        if "-" not in text:
            yield text
            continue
        for first, last, protocol in port_ranges([text]):
            yield from (f"{port}/{protocol}" for port in range(first, last + 1))


def port_ranges(texts: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (first port, last port, protocol) of keys such as ``80``, ``80/tcp`` and ``80-82/udp``."""
    for text in texts:
        if (found := port_spec.parse(text)) is not None:
            yield found.first, found.last, found.protocol.lower() or "tcp"


def _per_port(bindings: Mapping[str, list[PortBinding] | None]) -> dict[str, list[PortBinding]]:
    """Return the bindings with ranges split into single ports, so that a single port of a range can be removed."""
    result: dict[str, list[PortBinding]] = {}
    for key, range_bindings in bindings.items():
        for first, last, protocol in port_ranges([key]):
            for step in range(last - first + 1):
                single = result.setdefault(f"{first + step}/{protocol}", [])
                single += [_shifted(binding, step, last - first) for binding in range_bindings or [PortBinding()]]
    return result


def _shifted(binding: PortBinding, step: int, steps: int) -> PortBinding:
    first, dash, _ = binding.host_port.partition("-")
    if not (dash and steps):
        return binding
    return msgspec.structs.replace(binding, host_port=str(int(first) + step))


def _without(binding: PortBinding, removal: PortBinding, published: Sequence[PortBinding]) -> list[PortBinding]:
    """Return the rest of *binding* without *removal*.

    If a binding without host address loses one family, it keeps the other family that is published.
    """
    if not _overlaps(binding, removal, published):
        return [binding]
    others = {current.host_ip for current in published} & _UNSPECIFIED - {removal.host_ip}
    if binding.host_ip or not removal.host_ip:
        return []
    return [msgspec.structs.replace(binding, host_ip=address) for address in sorted(others)]


def _overlaps(binding: PortBinding, removal: PortBinding, published: Sequence[PortBinding]) -> bool:
    """Return whether *removal* removes *binding* or a part of it."""
    any_address = binding.host_ip == "" and removal.host_ip in _UNSPECIFIED
    if removal.host_ip and not any_address and not _same(binding.host_ip, removal.host_ip):
        return False
    if removal.host_port in ("", "0") or removal.host_port == binding.host_port:
        return True
    if binding.host_port not in ("", "0") and "-" not in binding.host_port:
        return False
    first, _, last = binding.host_port.partition("-")
    chosen = any(current.host_port == removal.host_port for current in published)
    return chosen and (not last or int(first) <= int(removal.host_port) <= int(last))


def _same(left: str, right: str) -> bool:
    return bool(left) and ip_address(left.strip("[]")) == ip_address(right.strip("[]"))
