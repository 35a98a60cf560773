"""Remote IPAM drivers: pools and addresses that a plugin allocates, by libnetwork's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any, TypeVar

import msgspec

from netd.common.addresses import Address, Interface, Subnet
from netd.common.errors import ServerError
from netd.ipam.drivers import AddressRequest, Granted, PoolRequest
from netd.remote.caller import Caller, MethodNotImplemented

T = TypeVar("T")
_GATEWAY = "com.docker.network.gateway"
_TYPE = "RequestAddressType"
_MAC = "com.docker.network.endpoint.macaddress"


class _Capabilities(msgspec.Struct):
    mac: bool | None = msgspec.field(default=False, name="RequiresMACAddress")
    replay: bool | None = msgspec.field(default=False, name="RequiresRequestReplay")


class _Spaces(msgspec.Struct):
    local: str | None = msgspec.field(default="", name="LocalDefaultAddressSpace")


class _Pool(msgspec.Struct):
    id: str | None = msgspec.field(default="", name="PoolID")
    pool: str | None = msgspec.field(default="", name="Pool")
    data: dict[str, str] | None = msgspec.field(default=None, name="Data")


class _Address(msgspec.Struct):
    address: str | None = msgspec.field(default="", name="Address")


class _Nothing(msgspec.Struct):
    """A response without fields."""


class RemoteIpamDriver:
    """Implementation of :class:`netd.ipam.drivers.IpamDriver`; its methods are documented there."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._space: str | None = None
        self._wants_mac = False
        self.replay = False

    async def check(self) -> None:
        """Query the capabilities; a plugin without GetCapabilities has none.  Raises if the plugin is unusable."""
        try:
            response = await self._call("GetCapabilities", None, _Capabilities)
        except MethodNotImplemented:
            return
        self._wants_mac, self.replay = bool(response.mac), bool(response.replay)

    async def request_pool(self, asked: PoolRequest) -> Granted:
        body = {
            "AddressSpace": await self._local_space(),
            "Pool": str(asked.subnet or ""),
            "SubPool": str(asked.ip_range or ""),
            "Options": dict(asked.options),
            "V6": asked.family == 6,
        }
        response = await self._call("RequestPool", body, _Pool)
        subnet: Subnet = self._read("RequestPool", ip_network, response.pool)
        if not response.id or subnet.version != asked.family:
            raise self._invalid_response("RequestPool", f"pool {response.id!r} with {subnet} does not fit")
        given = (response.data or {}).get(_GATEWAY)
        return Granted(response.id, subnet, self._read("RequestPool", ip_interface, given).ip if given else None)

    async def release_pool(self, pool: str) -> None:
        await self._call("ReleasePool", {"PoolID": pool}, _Nothing, once=True)

    async def request_address(self, pool: str, asked: AddressRequest) -> Interface:
        options = {_TYPE: _GATEWAY} if asked.gateway else {}
        if self._wants_mac and asked.mac:
            options[_MAC] = asked.mac
        body = {"PoolID": pool, "Address": str(asked.address or ""), "Options": options}
        response = await self._call("RequestAddress", body, _Address)
        found: Interface = self._read("RequestAddress", ip_interface, response.address)
        return found

    async def release_address(self, pool: str, address: Address) -> None:
        await self._call("ReleaseAddress", {"PoolID": pool, "Address": str(address)}, _Nothing, once=True)

    async def _local_space(self) -> str:
        if self._space is None:
            self._space = (await self._call("GetDefaultAddressSpaces", None, _Spaces)).local or ""
        return self._space

    async def _call(self, method: str, body: Mapping[str, Any] | None, kind: type[T], *, once: bool = False) -> T:
        return await self._caller.call(f"IpamDriver.{method}", body, kind, once=once)

    def _read(self, method: str, kind: Callable[[str], Any], text: str | None) -> Any:
        try:
            return kind(text or "")
        except ValueError:
            raise self._invalid_response(method, f"{text!r} is not an address with a prefix length") from None

    def _invalid_response(self, method: str, reason: str) -> ServerError:
        caller = self._caller
        return ServerError(
            f"plugin {caller.name} at {caller.address} sent an invalid response to IpamDriver.{method}: {reason}"
        )
