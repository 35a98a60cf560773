"""The JSON of libnetwork's remote network driver protocol.  Every field of a response may be absent or null."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from netd.common.addresses import FAMILIES, Family
from netd.model import Endpoint, Network, Pool, PortRequest, Sandbox

PREFIX = "com.docker.network."
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
LOCAL_SPACE, NO_SPACE = "LocalDefault", "null"


class Nothing(msgspec.Struct):
    """A response without fields."""


class Capabilities(msgspec.Struct, rename="pascal"):
    scope: str | None = ""
    connectivity_scope: str | None = ""
    gw_alloc_checker: bool | None = False


class Skipped(msgspec.Struct):
    ipv4: bool | None = msgspec.field(default=False, name="SkipIPv4")
    ipv6: bool | None = msgspec.field(default=False, name="SkipIPv6")


class InterfaceJson(msgspec.Struct):
    address: str | None = msgspec.field(default="", name="Address")
    address6: str | None = msgspec.field(default="", name="AddressIPv6")
    mac: str | None = msgspec.field(default="", name="MacAddress")


class Created(msgspec.Struct, rename="pascal"):
    interface: InterfaceJson | None = None


class NamesJson(msgspec.Struct, rename="pascal"):
    src_name: str | None = ""
    dst_prefix: str | None = ""


class RouteJson(msgspec.Struct, rename="pascal"):
    destination: str
    route_type: int | None = 0
    next_hop: str | None = ""


class JoinedJson(msgspec.Struct):
    names: NamesJson | None = msgspec.field(default=None, name="InterfaceName")
    gateway: str | None = msgspec.field(default="", name="Gateway")
    gateway6: str | None = msgspec.field(default="", name="GatewayIPv6")
    routes: list[RouteJson] | None = msgspec.field(default=None, name="StaticRoutes")
    no_gateway_service: bool | None = msgspec.field(default=False, name="DisableGatewayService")


def network_options(*, options: dict[str, str], ipv4: bool, ipv6: bool, internal: bool) -> dict[str, Any]:
    """Return the ``Options`` of CreateNetwork and GwAllocCheck."""
    body: dict[str, Any] = {
        PREFIX + "generic": options,
        PREFIX + "enable_ipv4": ipv4,
        PREFIX + "enable_ipv6": ipv6,
    }
    return body | ({PREFIX + "internal": True} if internal else {})


def network_body(network: Network) -> dict[str, Any]:
    """Return the body of CreateNetwork."""
    options = network_options(options=network.options, ipv4=network.ipv4, ipv6=network.ipv6, internal=network.internal)
    data = {f"IPv{family}Data": list(_pools(network, family)) for family in FAMILIES}
    return {"NetworkID": network.id, "Options": options, **data}


def _pools(network: Network, family: Family) -> Iterator[dict[str, Any]]:
    pools = network.pools_of(family)
    if not pools and (network.ipv4 if family == 4 else network.ipv6):
        yield {"AddressSpace": NO_SPACE, "Pool": _EVERYTHING[family]}
    for pool in pools:
        yield _pool(pool)


def _pool(pool: Pool) -> dict[str, Any]:
    length = pool.subnet.prefixlen
    body: dict[str, Any] = {"AddressSpace": LOCAL_SPACE, "Pool": str(pool.subnet)}
    if pool.gateway is not None:
        body["Gateway"] = f"{pool.gateway}/{length}"
    if pool.auxiliary:
        body["AuxAddresses"] = {name: f"{address}/{length}" for name, address in pool.auxiliary.items()}
    return body


def interface_body(endpoint: Endpoint, mac: str) -> dict[str, str]:
    """Return the ``Interface`` of CreateEndpoint."""
    addresses = {"Address": str(endpoint.address or ""), "AddressIPv6": str(endpoint.address6 or "")}
    return {**addresses, "MacAddress": mac}


def endpoint_options(sandbox: Sandbox, endpoint: Endpoint, mac: str) -> dict[str, Any]:
    """Return the ``Options`` of CreateEndpoint: those of Join, the user's driver options, and the MAC."""
    body: dict[str, Any] = {**(endpoint.settings.driver_opts or {}), **port_options(sandbox)}
    if mac:
        raw = bytes.fromhex(mac.replace(":", ""))
        body[PREFIX + "endpoint.macaddress"] = base64.b64encode(raw).decode()
    return body


def port_options(sandbox: Sandbox) -> dict[str, Any]:
    """Return the ``Options`` of Join and ProgramExternalConnectivity."""
    spans = sandbox.exposed_spans()
    exposed_ports = [(port, kind) for kind, first, last in spans for port in range(first, last + 1)]
    return {
        PREFIX + "portmap": [binding for port_request in sandbox.port_requests for binding in _bindings(port_request)],
        PREFIX + "endpoint.exposedports": [{"Proto": _NUMBERS[kind], "Port": port} for port, kind in exposed_ports],
    }


def _bindings(port_request: PortRequest) -> Iterator[dict[str, Any]]:
    for step in range(port_request.count):
        for address in port_request.addresses:
            port = port_request.port + step if port_request.port else 0
            yield {
                "Proto": _NUMBERS[port_request.protocol],
                "IP": "",
                "Port": port_request.target + step,
                "HostIP": str(address or ""),
                "HostPort": port,
                "HostPortEnd": max(port_request.last, port),
            }
