"""Which gateway, range and reserved address of ``network create`` belongs to which subnet.  Pure."""

from __future__ import annotations

from netd.cli.errors import UsageFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options

    Json = dict[str, Any]


def pools(options: Options) -> list[Json]:
    """Return ``IPAM.Config``: one entry for each ``--subnet``, in order.

    With one subnet everything is about that one, and whether it fits is the daemon's to say.
    """
    found: list[Json] = [{"Subnet": subnet} for subnet in options.many("subnet")]
    for name, field in (("ip-range", "IPRange"), ("gateway", "Gateway")):
        for value in options.many(name):
            pool = _home(found, options, name, value)
            if field in pool:
                raise UsageFault(f"cannot give subnet {pool['Subnet']} two of --{name}: {pool[field]} and {value}")
            pool[field] = value
    for word in options.many("aux-address"):
        key, _, value = word.partition("=")
        if not key or not value:
            raise options.refuse("aux-address", word, "say NAME=ADDRESS")
        _home(found, options, "aux-address", value).setdefault("AuxiliaryAddresses", {})[key] = value
    return found


def _home(found: list[Json], options: Options, name: str, value: str) -> Json:
    if not found:
        raise UsageFault(f"--{name} {value} needs a --subnet that it is in")
    if len(found) == 1:
        return found[0]
    from ipaddress import ip_network

    try:
        wanted = ip_network(value, strict=False)
        homes = [pool for pool in found if _holds(ip_network(pool["Subnet"], strict=False), wanted)]
    except ValueError as error:
        raise options.refuse(name, value, str(error)) from None
    if not homes:
        raise UsageFault(f"no --subnet holds --{name} {value}")
    return homes[0]


def _holds(subnet: Any, wanted: Any) -> bool:
    return bool(subnet.version == wanted.version and wanted.subnet_of(subnet))
