"""Links on the default network: validation, and the variables that a linked container gets.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig, split_link
from runtime.engine.options import networking
from runtime.engine.options.port_bindings import single_ports
from runtime.record import ContainerRecord

_PRIVATE = ("HOME", "PATH")
"""Variables of the target that are not passed on, as in Docker."""


def check(host: HostConfig) -> None:
    """Raise BadRequest, with Docker's texts, for links that no container can be started with."""
    for text in host.links or ():
        if not text:
            raise BadRequest("empty string specified for links")
        if text.count(":") > 1:
            raise BadRequest(f"bad format for links: {text}")
        name, alias = split_link(text)
        if not name:
            raise BadRequest('could not get container for : invalid name or ID supplied: ""')
        networking.check_word("link alias", alias)


def environment(owner: str, alias: str, target: ContainerRecord) -> list[str]:
    """Return the variables that container *owner* gets for a running *target*, as Docker's legacy links define them."""
    prefix = alias.replace("-", "_").upper()
    network = target.network.networks.get("bridge") if target.network else None
    address = network.ip_address if network else ""
    ports = sorted(single_ports(target.network.ports if target.network else ()), key=_order) if address else []
    found = [f"{prefix}_PORT={_url(address, ports[0])}"] if ports else []
    for port in ports:
        found += _port_variables(f"{prefix}_PORT", address, port)
    inherited = (text for text in target.config.env or () if text.partition("=")[0] not in _PRIVATE and "=" in text)
    return [*found, f"{prefix}_NAME=/{owner}/{alias}", *(f"{prefix}_ENV_{text}" for text in inherited)]


def _port_variables(prefix: str, address: str, port: str) -> Iterator[str]:
    number, _, protocol = port.partition("/")
    base = f"{prefix}_{number}_{protocol.upper()}"
    yield f"{base}={_url(address, port)}"
    yield f"{base}_ADDR={address}"
    yield f"{base}_PORT={number}"
    yield f"{base}_PROTO={protocol}"


def _url(address: str, port: str) -> str:
    number, _, protocol = port.partition("/")
    return f"{protocol}://{address}:{number}"


def _order(port: str) -> tuple[bool, int]:
    number, _, protocol = port.partition("/")
    return protocol != "tcp", int(number)


def shown(owner: str, targets: Iterable[tuple[str, str]]) -> list[str]:
    """Return ``HostConfig.Links`` of inspect for (target's name, alias), as Docker shows them."""
    return [f"/{name}:/{owner}/{alias}" for name, alias in targets]
