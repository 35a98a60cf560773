"""Records as people and programs see them: Docker's JSON for containers' networking.  Pure."""

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
        networks={network.name: endpoint(sandbox, one, network) for one, network in state.networks_of(sandbox)},
    )


def endpoint(sandbox: Sandbox, one: Endpoint, network: Network) -> EndpointSettings:
    """Return the endpoint with what was asked for and what it has."""
    return replace(
        one.settings,
        network_id=network.id,
        endpoint_id=one.id,
        gateway=str(one.gateway or ""),
        ip_address=str(one.address.ip) if one.address else "",
        ip_prefix_len=one.address.network.prefixlen if one.address else 0,
        ipv6_gateway=str(one.gateway6 or ""),
        global_ipv6_address=str(one.address6.ip) if one.address6 else "",
        global_ipv6_prefix_len=one.address6.network.prefixlen if one.address6 else 0,
        mac_address=one.mac,
        dns_names=None if network.predefined else list(sandbox.names(one)),
    )


def ports(sandbox: Sandbox) -> dict[str, list[PortBinding] | None]:
    """Return every exposed port with its bindings, None for those that are not published."""
    if not any(one.addresses for one in sandbox.endpoints):
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
    address, allowed = str(publication.address), [str(one) for one in publication.allow]
    for step in range(publication.count):
        key = f"{publication.target + step}/{publication.protocol}"
        port = str(publication.port + step) if publication.port else ""
        yield key, PortBinding(address, port, allowed) if allowed else PortBinding(address, port)
