"""A network as text for people: ``network inspect --format pretty``.  Pure, except for the clock."""

from __future__ import annotations

from netd.cli.output.columns import escape_control, table
from netd.cli.output.human import ago, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]

_SWITCHES = (
    ("Internal", "internal"),
    ("EnableIPv6", "IPv6"),
    ("Attachable", "attachable"),
    ("Ingress", "ingress"),
    ("ConfigOnly", "settings only"),
)


def pretty(network: Json) -> str:
    """Return the settings of a network, one in a line, and a table of its containers."""
    lines = "".join(f"{label + ':':<13}{escape_control(text)}\n" for label, text in _settings(network))
    containers = sorted((network.get("Containers") or {}).values(), key=lambda entry: str(entry["Name"]))
    if not containers:
        return lines + f"{'Containers:':<13}none\n"
    rows = [(entry["Name"], entry["IPv4Address"], entry["IPv6Address"], entry["MacAddress"]) for entry in containers]
    shown = table(("CONTAINER", "IPV4 ADDRESS", "IPV6 ADDRESS", "MAC ADDRESS"), rows)
    return f"{lines}{'Containers:':<13}{len(containers)}\n" + "".join(f"  {line}\n" for line in shown.splitlines())


def _settings(network: Json) -> Iterator[tuple[str, str]]:
    ipam = network.get("IPAM") or {}
    yield "Name", network["Name"]
    yield "Id", network["Id"]
    yield "Driver", network["Driver"]
    yield "Created", f"{ago(seconds_of(network['Created']))} ({network['Created']})"
    for pool in ipam.get("Config") or ():
        yield "Subnet", _pool(pool)
    if (driver := ipam.get("Driver") or "default") != "default":
        yield "IPAM driver", driver
    for subnet, status in (((network.get("Status") or {}).get("IPAM") or {}).get("Subnets") or {}).items():
        yield "Addresses", f"{status['IPsInUse']} in use, {status['DynamicIPsAvailable']} free in {subnet}"
    if switches := [text for key, text in _SWITCHES if network.get(key)]:
        yield "Properties", ", ".join(switches)
    if source := (network.get("ConfigFrom") or {}).get("Network"):
        yield "Settings of", source
    for key, label in (("Options", "Option"), ("Labels", "Label")):
        for name, value in sorted((network.get(key) or {}).items()):
            yield label, f"{name}={value}"


def _pool(pool: Json) -> str:
    more = [f"gateway {pool['Gateway']}"] if pool.get("Gateway") else []
    more += [f"range {pool['IPRange']}"] if pool.get("IPRange") else []
    reserved = pool.get("AuxiliaryAddresses") or {}
    more += [f"{name} {address}" for name, address in sorted(reserved.items())]
    return f"{pool['Subnet']} ({', '.join(more)})" if more else str(pool["Subnet"])
