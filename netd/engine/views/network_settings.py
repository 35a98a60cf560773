"""Docker's ``NetworkSettings`` of a container.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from netd.api import EndpointSettings, PortBinding, SandboxSettings
from netd.engine.state.state import State
from netd.model import Endpoint, Network, Publication, Sandbox


def settings(state: State, sandbox: Sandbox, key: Path) -> SandboxSettings:
    """Return Docker's ``NetworkSettings``; *key* is the path of the namespace."""
    return SandboxSettings(
        sandbox_id=sandbox.id,
        sandbox_key=str(key.with_name("default") if sandbox.on_host else key),
        ports=ports(sandbox),
        networks={
            network.name: _endpoint_settings(sandbox, endpoint, network)
            for endpoint, network in state.networks_of(sandbox)
        },
    )


def _endpoint_settings(sandbox: Sandbox, endpoint: Endpoint, network: Network) -> EndpointSettings:
    """Return the requested settings completed with the assigned values."""
    return replace(
        endpoint.settings,
        network_id=network.id,
        endpoint_id=endpoint.id,
        gateway=str(endpoint.gateway or ""),
        ip_address=str(endpoint.address.ip) if endpoint.address else "",
        ip_prefix_len=endpoint.address.network.prefixlen if endpoint.address else 0,
        ipv6_gateway=str(endpoint.gateway6 or ""),
        global_ipv6_address=str(endpoint.address6.ip) if endpoint.address6 else "",
        global_ipv6_prefix_len=endpoint.address6.network.prefixlen if endpoint.address6 else 0,
        mac_address=endpoint.mac,
        dns_names=None if network.predefined else list(sandbox.names(endpoint)),
    )


def ports(sandbox: Sandbox) -> dict[str, list[PortBinding] | None]:
    """Return each exposed port with its bindings; None for ports that are not published."""
    if not any(endpoint.addresses for endpoint in sandbox.endpoints):
        return {}
    found: dict[str, list[PortBinding] | None] = {
        f"{port}/{protocol}": None
        for protocol, first, last in sandbox.exposed_spans()
        for port in range(first, last + 1)
    }
    for publication in sandbox.publications:
        for key, binding in _bindings(publication):
            bindings = found.get(key)
            if bindings is None:
                found[key] = [binding]
            else:
                bindings.append(binding)
    return found


def _bindings(publication: Publication) -> Iterator[tuple[str, PortBinding]]:
    address, allowed = str(publication.address), [str(subnet) for subnet in publication.allow]
    for offset in range(publication.count):
        key = f"{publication.target + offset}/{publication.protocol}"
        port = str(publication.port + offset) if publication.port else ""
        yield key, PortBinding(address, port, allowed) if allowed else PortBinding(address, port)
