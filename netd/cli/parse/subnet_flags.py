"""Assignment of gateways, ranges and auxiliary addresses of ``network create`` to subnets.  Pure."""

from __future__ import annotations

from netd.cli.errors import UsageFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options

    Json = dict[str, Any]


def pools(options: Options) -> list[Json]:
    """Return ``IPAM.Config``: one entry for each ``--subnet``, in order.

    With a single subnet all values are assigned to it; the daemon checks that the subnet contains them.
    """
    configs: list[Json] = [{"Subnet": subnet} for subnet in options.many("subnet")]
    for name, field in (("ip-range", "IPRange"), ("gateway", "Gateway")):
        for value in options.many(name):
            pool = _pool_of(configs, options, name, value)
            if field in pool:
                raise UsageFault(f"subnet {pool['Subnet']} has two values of --{name}: {pool[field]} and {value}")
            pool[field] = value
    for word in options.many("aux-address"):
        key, _, value = word.partition("=")
        if not key or not value:
            raise options.refuse("aux-address", word, "use NAME=ADDRESS")
        _pool_of(configs, options, "aux-address", value).setdefault("AuxiliaryAddresses", {})[key] = value
    return configs


def _pool_of(configs: list[Json], options: Options, name: str, value: str) -> Json:
    if not configs:
        raise UsageFault(f"--{name} {value} needs a --subnet that contains it")
    if len(configs) == 1:
        return configs[0]
    from ipaddress import ip_network

    try:
        requested = ip_network(value, strict=False)
        matches = [pool for pool in configs if _contains(ip_network(pool["Subnet"], strict=False), requested)]
    except ValueError as error:
        raise options.refuse(name, value, str(error)) from None
    if not matches:
        raise UsageFault(f"no --subnet contains --{name} {value}")
    return matches[0]


def _contains(subnet: Any, requested: Any) -> bool:
    return bool(subnet.version == requested.version and requested.subnet_of(subnet))
