"""The JSON of libnetwork's remote network driver protocol.  Answers may leave out, or set to null, what they like."""

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
    """An answer that says no more than that it went well."""


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
    said: dict[str, Any] = {
        PREFIX + "generic": options,
        PREFIX + "enable_ipv4": ipv4,
        PREFIX + "enable_ipv6": ipv6,
    }
    return said | ({PREFIX + "internal": True} if internal else {})


def network(one: Network) -> dict[str, Any]:
    """Return the body of CreateNetwork."""
    options = network_options(options=one.options, ipv4=one.ipv4, ipv6=one.ipv6, internal=one.internal)
    data = {f"IPv{family}Data": list(_pools(one, family)) for family in FAMILIES}
    return {"NetworkID": one.id, "Options": options, **data}


def _pools(one: Network, family: Family) -> Iterator[dict[str, Any]]:
    pools = one.pools_of(family)
    if not pools and (one.ipv4 if family == 4 else one.ipv6):
        yield {"AddressSpace": NO_SPACE, "Pool": _EVERYTHING[family]}
    for pool in pools:
        yield _pool(pool)


def _pool(pool: Pool) -> dict[str, Any]:
    length = pool.subnet.prefixlen
    said: dict[str, Any] = {"AddressSpace": LOCAL_SPACE, "Pool": str(pool.subnet)}
    if pool.gateway is not None:
        said["Gateway"] = f"{pool.gateway}/{length}"
    if pool.auxiliary:
        said["AuxAddresses"] = {name: f"{address}/{length}" for name, address in pool.auxiliary.items()}
    return said


def interface(one: Endpoint, mac: str) -> dict[str, str]:
    return {"Address": str(one.address or ""), "AddressIPv6": str(one.address6 or ""), "MacAddress": mac}


def endpoint_options(sandbox: Sandbox, one: Endpoint, mac: str) -> dict[str, Any]:
    """Return the ``Options`` of CreateEndpoint: those of Join, what the user gave for the endpoint, and the MAC."""
    said: dict[str, Any] = {**(one.settings.driver_opts or {}), **port_options(sandbox)}
    if mac:
        raw = bytes.fromhex(mac.replace(":", ""))
        said[PREFIX + "endpoint.macaddress"] = base64.b64encode(raw).decode()
    return said


def port_options(sandbox: Sandbox) -> dict[str, Any]:
    """Return the ``Options`` of Join and ProgramExternalConnectivity."""
    spans = sandbox.exposed_spans()
    exposed = [(port, kind) for kind, first, last in spans for port in range(first, last + 1)]
    return {
        PREFIX + "portmap": [one for port_request in sandbox.port_requests for one in _bindings(port_request)],
        PREFIX + "endpoint.exposedports": [{"Proto": _NUMBERS[kind], "Port": port} for port, kind in exposed],
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
