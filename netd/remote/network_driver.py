"""Remote network drivers, by libnetwork's protocol.

Responses are validated; an invalid one raises an error that names the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from netd.common import mac
from netd.common.addresses import FAMILIES, Family
from netd.common.errors import Forbidden, ServerError
from netd.drivers import options
from netd.model import Endpoint, JoinInfo, Network, NetworkSpec, Route, Sandbox
from netd.remote import libnetwork_json
from netd.remote.caller import Caller, MethodNotImplemented, PluginFailed

T = TypeVar("T")
_CONNECTED = 1


class RemoteNetworkDriver:
    """Implementation of :class:`netd.drivers.remote.NetworkDriverCalls`; its methods are documented there."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def check(self) -> None:
        scope = (await self._capabilities()).scope
        if scope == "global":
            raise Forbidden(
                f"plugin {self._caller.name} has the scope global, which needs a cluster: use a driver"
                " of the scope local"
            )
        if scope != "local":
            raise self._invalid_response(
                "NetworkDriver.GetCapabilities", f"scope {scope!r} is neither local nor global"
            )

    async def without_gateway(self, asked: NetworkSpec) -> tuple[Family, ...]:
        if not (await self._capabilities()).gw_alloc_checker:
            return ()
        options = libnetwork_json.network_options(
            options=asked.options, ipv4=asked.ipv4, ipv6=asked.ipv6, internal=asked.internal
        )
        skipped = await self._call("GwAllocCheck", {"Options": options}, libnetwork_json.Skipped)
        return tuple(family for family in FAMILIES if (skipped.ipv4 if family == 4 else skipped.ipv6))

    async def create_network(self, network: Network) -> None:
        await self._call("CreateNetwork", libnetwork_json.network_body(network), libnetwork_json.Nothing)

    async def delete_network(self, network: str) -> None:
        await self._call("DeleteNetwork", {"NetworkID": network}, libnetwork_json.Nothing, once=True)

    async def create_endpoint(self, network: Network, sandbox: Sandbox, endpoint: Endpoint) -> Endpoint:
        own = mac.normalize(endpoint.settings.mac_address)
        body = {
            **_ids(network.id, endpoint.id),
            "Interface": libnetwork_json.interface_body(endpoint, own),
            "Options": libnetwork_json.endpoint_options(sandbox, endpoint, own),
        }
        given = (
            await self._call("CreateEndpoint", body, libnetwork_json.Created)
        ).interface or libnetwork_json.InterfaceJson()
        self._check_unset("IP", endpoint.address, given.address)
        self._check_unset("IPv6", endpoint.address6, given.address6)
        self._check_unset("MAC address", own, given.mac)
        if given.mac and not mac.normalize(given.mac):
            raise self._invalid_response(
                "NetworkDriver.CreateEndpoint", f"{given.mac!r} is not a MAC address of an interface"
            )
        method = "NetworkDriver.CreateEndpoint"
        return replace(
            endpoint,
            mac=own or mac.normalize(given.mac or ""),
            address=endpoint.address or self._read(method, IPv4Interface, given.address),
            address6=endpoint.address6 or self._read(method, IPv6Interface, given.address6),
            gateway=None,
            gateway6=None,
        )

    async def join(self, sandbox: Sandbox, endpoint: Endpoint, key: Path) -> Endpoint:
        body = {
            **_ids(endpoint.network, endpoint.id),
            "SandboxKey": str(key),
            "Options": libnetwork_json.port_options(sandbox),
        }
        return self._joined(sandbox, endpoint, await self._call("Join", body, libnetwork_json.JoinedJson))

    async def program(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        body = {**_ids(endpoint.network, endpoint.id), "Options": libnetwork_json.port_options(sandbox)}
        try:
            await self._call("ProgramExternalConnectivity", body, libnetwork_json.Nothing)
        except MethodNotImplemented:
            return
        except ServerError as problem:
            raise ServerError(
                "driver failed programming external connectivity on endpoint"
                f" {sandbox.name} ({endpoint.id}): {problem.message}"
            ) from None

    async def revoke(self, endpoint: Endpoint) -> None:
        try:
            ids = _ids(endpoint.network, endpoint.id)
            await self._call("RevokeExternalConnectivity", ids, libnetwork_json.Nothing, once=True)
        except MethodNotImplemented:
            return

    async def look(self, endpoint: Endpoint) -> None:
        """Call EndpointOperInfo, as Docker's engine does; the response is not used."""
        await self._call("EndpointOperInfo", _ids(endpoint.network, endpoint.id), libnetwork_json.Nothing)

    async def leave(self, network: str, endpoint: str) -> None:
        await self._call("Leave", _ids(network, endpoint), libnetwork_json.Nothing, once=True)

    async def delete_endpoint(self, network: str, endpoint: str) -> None:
        await self._call("DeleteEndpoint", _ids(network, endpoint), libnetwork_json.Nothing, once=True)

    async def _capabilities(self) -> libnetwork_json.Capabilities:
        return await self._call("GetCapabilities", None, libnetwork_json.Capabilities)

    async def _call(self, method: str, body: Mapping[str, Any] | None, kind: type[T], *, once: bool = False) -> T:
        return await self._caller.call(f"NetworkDriver.{method}", body, kind, once=once)

    def _joined(self, sandbox: Sandbox, endpoint: Endpoint, response: libnetwork_json.JoinedJson) -> Endpoint:
        names = response.names or libnetwork_json.NamesJson()
        source, prefix = names.src_name or "", names.dst_prefix or "eth"
        for name in (source, prefix):
            if not options.is_link_name(name):
                raise self._invalid_response("NetworkDriver.Join", f"InterfaceName {name!r} is not valid for a link")
        routes = tuple(map(self._route, response.routes or ()))
        gateways = {route.destination.version: route.via for route in routes if _is_gateway(route)}
        gateway = self._read("NetworkDriver.Join", IPv4Address, response.gateway) or gateways.get(4)
        gateway6 = self._read("NetworkDriver.Join", IPv6Address, response.gateway6) or gateways.get(6)
        return replace(
            endpoint,
            interface=_interface(sandbox, endpoint, prefix),
            gateway=gateway,
            gateway6=gateway6,
            join_info=JoinInfo(source=source, routes=tuple(route for route in routes if not _is_gateway(route))),
        )

    def _route(self, response: libnetwork_json.RouteJson) -> Route:
        destination = self._read("NetworkDriver.Join", ip_network, response.destination)
        via = (
            None
            if response.route_type == _CONNECTED
            else self._read("NetworkDriver.Join", ip_address, response.next_hop)
        )
        if destination is None or (via is None and response.route_type != _CONNECTED):
            raise self._invalid_response("NetworkDriver.Join", f"the route to {response.destination!r} has no next hop")
        return Route(destination, via)

    def _read(self, method: str, kind: Callable[[str], T], text: str | None) -> T | None:
        try:
            return kind(text) if text else None
        except ValueError:
            raise self._invalid_response(method, f"{text!r} cannot be parsed") from None

    @staticmethod
    def _check_unset(what: str, have: object, given: str | None) -> None:
        if have and given:
            raise PluginFailed(
                f"driver modified interface address: endpoint interface {what} present ({have})."
                f" Cannot be modified with {given}."
            )

    def _invalid_response(self, method: str, reason: str) -> ServerError:
        caller = self._caller
        return ServerError(f"plugin {caller.name} at {caller.address} sent an invalid response to {method}: {reason}")


def _ids(network: str, endpoint: str) -> dict[str, str]:
    return {"NetworkID": network, "EndpointID": endpoint}


def _is_gateway(route: Route) -> bool:
    """Return True for a default route with a next hop."""
    return route.destination.prefixlen == 0 and route.via is not None


def _interface(sandbox: Sandbox, endpoint: Endpoint, prefix: str) -> str:
    """Return the interface name of the request, else the driver's prefix with the lowest free number."""
    if endpoint.settings.driver_opts and endpoint.interface in endpoint.settings.driver_opts.values():
        return endpoint.interface
    used = {other.interface for other in sandbox.endpoints if other.id != endpoint.id}
    return next(name for number in range(len(used) + 1) if (name := f"{prefix}{number}") not in used)
