"""An IPAM driver behind a socket, in libnetwork's calls: pools and addresses that somebody else chooses."""

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
    """An answer that says no more than that it went well."""


class RemoteIpamDriver:
    """Implements :class:`netd.ipam.drivers.IpamDriver`; see there for what the methods promise."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._space: str | None = None
        self._wants_mac = False
        self.replay = False

    async def check(self) -> None:
        """Ask what the driver needs; one that does not say needs nothing.  Raises where it cannot be used."""
        try:
            said = await self._ask("GetCapabilities", None, _Capabilities)
        except MethodNotImplemented:
            return
        self._wants_mac, self.replay = bool(said.mac), bool(said.replay)

    async def request_pool(self, asked: PoolRequest) -> Granted:
        body = {
            "AddressSpace": await self._local_space(),
            "Pool": str(asked.subnet or ""),
            "SubPool": str(asked.ip_range or ""),
            "Options": dict(asked.options),
            "V6": asked.family == 6,
        }
        said = await self._ask("RequestPool", body, _Pool)
        subnet: Subnet = self._read("RequestPool", ip_network, said.pool)
        if not said.id or subnet.version != asked.family:
            raise self._wrong("RequestPool", f"it granted the pool {said.id!r} with {subnet}")
        given = (said.data or {}).get(_GATEWAY)
        return Granted(said.id, subnet, self._read("RequestPool", ip_interface, given).ip if given else None)

    async def release_pool(self, pool: str) -> None:
        await self._ask("ReleasePool", {"PoolID": pool}, _Nothing, once=True)

    async def request_address(self, pool: str, asked: AddressRequest) -> Interface:
        options = {_TYPE: _GATEWAY} if asked.gateway else {}
        if self._wants_mac and asked.mac:
            options[_MAC] = asked.mac
        body = {"PoolID": pool, "Address": str(asked.address or ""), "Options": options}
        said = await self._ask("RequestAddress", body, _Address)
        found: Interface = self._read("RequestAddress", ip_interface, said.address)
        return found

    async def release_address(self, pool: str, address: Address) -> None:
        await self._ask("ReleaseAddress", {"PoolID": pool, "Address": str(address)}, _Nothing, once=True)

    async def _local_space(self) -> str:
        if self._space is None:
            self._space = (await self._ask("GetDefaultAddressSpaces", None, _Spaces)).local or ""
        return self._space

    async def _ask(self, method: str, body: Mapping[str, Any] | None, kind: type[T], *, once: bool = False) -> T:
        return await self._caller.call(f"IpamDriver.{method}", body, kind, once=once)

    def _read(self, method: str, kind: Callable[[str], Any], text: str | None) -> Any:
        try:
            return kind(text or "")
        except ValueError:
            raise self._wrong(method, f"{text!r} is no address with the length of its prefix") from None

    def _wrong(self, method: str, reason: str) -> ServerError:
        caller = self._caller
        return ServerError(f"plugin {caller.name} at {caller.place} answered IpamDriver.{method} wrongly: {reason}")
