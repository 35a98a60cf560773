"""Docker's JSON for networks: create requests, lists and inspect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netd.common.addresses import FAMILIES, Family
from netd.common.errors import BadRequest, Forbidden
from netd.drivers import options
from netd.drivers.bridge_options import IPV4, IPV6
from netd.engine.networks.actions import check_not_predefined
from netd.engine.state.state import State
from netd.ipam.pool_spec import IpamConfig, read
from netd.model import Network, NetworkSpec, Pool, PoolSpec

_AUXILIARY = "AuxiliaryAddresses"


class PoolJson(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of ``IPAM.Config``."""

    subnet: str | None = msgspec.field(default=None, name="Subnet")
    ip_range: str | None = msgspec.field(default=None, name="IPRange")
    gateway: str | None = msgspec.field(default=None, name="Gateway")
    auxiliary: dict[str, str] | None = msgspec.field(default=None, name=_AUXILIARY)


class IpamJson(msgspec.Struct, frozen=True):
    driver: str | None = msgspec.field(default="default", name="Driver")
    options: dict[str, str] | None = msgspec.field(default=None, name="Options")
    config: list[PoolJson] | None = msgspec.field(default=None, name="Config")


class ReferenceJson(msgspec.Struct, frozen=True):
    network: str | None = msgspec.field(default="", name="Network")


class CreateJson(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of ``POST /networks/create``; unknown keys are ignored, as in Docker."""

    name: str | None = None
    driver: str | None = None
    scope: str | None = None
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    ipam: IpamJson | None = msgspec.field(default=None, name="IPAM")
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: ReferenceJson | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkJson(msgspec.Struct, frozen=True, rename="pascal", kw_only=True, omit_defaults=False):
    name: str
    id: str
    created: str
    scope: str = "local"
    driver: str
    enable_ipv4: bool = msgspec.field(default=True, name="EnableIPv4")
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    ipam: IpamJson = msgspec.field(name="IPAM")
    internal: bool
    attachable: bool
    ingress: bool = False
    config_from: ReferenceJson = ReferenceJson()
    config_only: bool = False
    options: dict[str, str]
    labels: dict[str, str]
    containers: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    status: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def spec(request: CreateJson) -> NetworkSpec:
    """Return the request as a spec.  Raises BadRequest or Forbidden naming what is invalid or not supported."""
    check_not_predefined(request.name or "")
    _check_supported(request)
    ipam = request.ipam or IpamJson()
    named = _families_of_subnets(ipam)
    ipv4, ipv6 = (
        _is_enabled(request, request.enable_ipv4, IPV4, True),
        _is_enabled(request, request.enable_ipv6, IPV6, 6 in named),
    )
    _check_enabled(named, {4: ipv4, 6: ipv6})
    return NetworkSpec(
        name=request.name or "",
        driver=request.driver or "bridge",
        ipv4=ipv4,
        ipv6=ipv6,
        pools=_pools(ipam, {4: ipv4, 6: ipv6}),
        ipam_driver=ipam.driver or "default",
        ipam_options=ipam.options,
        internal=bool(request.internal),
        attachable=bool(request.attachable),
        options=_options(request),
        labels=request.labels or {},
        config_only=bool(request.config_only),
        config_from=_config_from(request),
    )


def listed(network: Network) -> NetworkJson:
    """Return the network as ``GET /networks`` lists it."""
    return NetworkJson(
        name=network.name,
        id=network.id,
        created=network.created,
        driver=network.driver,
        enable_ipv4=network.ipv4,
        enable_ipv6=network.ipv6,
        ipam=IpamJson(network.ipam_driver, network.ipam_options, [_pool_json(pool) for pool in network.pools] or None),
        internal=network.internal,
        attachable=network.attachable,
        options=network.options,
        labels=network.labels,
        config_only=network.template is not None,
        config_from=ReferenceJson(network.config_from),
    )


def _pool_json(pool: Pool) -> PoolJson:
    return PoolJson(
        str(pool.subnet),
        str(pool.ip_range) if pool.ip_range else None,
        str(pool.gateway) if pool.gateway else None,
        {name: str(address) for name, address in pool.auxiliary.items()} or None,
    )


def inspected(state: State, network: Network, *, with_status: bool) -> NetworkJson:
    """Return the network as ``GET /networks/{id}`` shows it, with its containers and the counts of its addresses."""
    found = msgspec.structs.replace(listed(network), containers=_containers(state, network))
    return msgspec.structs.replace(found, status=_status(state, network)) if with_status else found


def _status(state: State, network: Network) -> dict[str, Any]:
    subnets = {
        str(pool.subnet): {"IPsInUse": pool.in_use, "DynamicIPsAvailable": pool.available}
        for family in FAMILIES
        for pool in state.addresses(network.id, family)
    }
    return {"IPAM": {"Subnets": subnets} if subnets else {}}


def _containers(state: State, network: Network) -> dict[str, Any]:
    found = {}
    for identifier, endpoint in state.members(network.id).items():
        sandbox = state.sandbox(identifier)
        found[identifier] = {
            "Name": sandbox.name if sandbox else "",
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac,
            "IPv4Address": str(endpoint.address or ""),
            "IPv6Address": str(endpoint.address6 or ""),
        }
    return found


def _check_supported(request: CreateJson) -> None:
    if request.driver == "overlay":
        raise Forbidden("overlay networks need a swarm, and this node is not a swarm manager: use the bridge driver")
    _check_template(request)
    if request.ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if request.scope not in (None, "", "local"):
        raise Forbidden(
            f"cannot create a {request.scope} scoped network when {request.scope} is not active: only the local scope"
            " is supported"
        )


def _config_from(request: CreateJson) -> str:
    return (request.config_from.network if request.config_from else "") or ""


def _check_template(request: CreateJson) -> None:
    """Raise Forbidden, with Docker's texts, for fields that are invalid with config-only or config-from."""
    operator_fields = request.ingress or request.internal or request.attachable or request.scope
    if request.config_only and operator_fields:
        raise Forbidden(
            "configuration network can only contain network specific fields. Network operator fields like"
            " [ ingress | internal | attachable | scope ] are not supported."
        )
    if not _config_from(request):
        return
    if request.config_only:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    ipam = request.ipam or IpamJson()
    if ipam.config or ipam.options or ipam.driver not in (None, "", "default"):
        raise Forbidden(
            "user-specified configurations are not supported if the network depends on a configuration network"
        )
    if request.options:
        raise Forbidden("network driver options are not supported if the network depends on a configuration network")


def _options(request: CreateJson) -> dict[str, str]:
    """Return the driver options, without an IPv4 or IPv6 option that EnableIPv4 or EnableIPv6 overrides."""
    explicit = {IPV4: request.enable_ipv4, IPV6: request.enable_ipv6}
    return {name: text for name, text in (request.options or {}).items() if explicit.get(name) is None}


def _is_enabled(request: CreateJson, explicit: bool | None, option: str, default: bool) -> bool:
    """Return whether a family is enabled: by the field, else by the option.  Raises BadRequest for a wrong option."""
    if (text := (request.options or {}).get(option)) is not None and not options.is_flag(text):
        raise BadRequest(f'driver-opt "{option}" is not a valid bool')
    return options.flag(request.options or {}, option, default) if explicit is None else explicit


def _families_of_subnets(ipam: IpamJson) -> dict[Family, str]:
    """Return the families of the request's subnets, each with a subnet of it."""
    return {6 if ":" in pool.subnet else 4: pool.subnet for pool in ipam.config or () if pool.subnet}


def _check_enabled(named: Mapping[Family, str], enabled: Mapping[Family, bool]) -> None:
    """Raise BadRequest for a subnet of a family that the request disables; Docker ignores such a subnet."""
    for family, subnet in named.items():
        if not enabled[family]:
            raise BadRequest(
                f"subnet {subnet} is an IPv{family} subnet, but the request disables IPv{family}:"
                f" enable it (--ipv{family}), or leave the subnet out"
            )


def _pools(ipam: IpamJson, families: Mapping[Family, bool]) -> tuple[PoolSpec, ...]:
    entries = [
        IpamConfig(pool.subnet or "", pool.ip_range or "", pool.gateway or "", pool.auxiliary or {})
        for pool in ipam.config or ()
    ]
    return read(
        [entry for entry in entries if entry != IpamConfig()],
        [family for family, enabled in families.items() if enabled],
    )
