"""Conversion of ``--network`` and the endpoint flags into the network mode and the endpoint settings.

Pure.  ``--network`` takes a name, or ``name=…,alias=…,ip=…`` with settings of that endpoint.  The other endpoint flags,
such as ``--ip`` and ``--network-alias``, apply to the first network.
"""

from __future__ import annotations

from netd.cli.errors import UsageFault
from netd.cli.parse.flags import integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options

    Json = dict[str, Any]

_ADDRESSES = {"ip": "IPv4Address", "ip6": "IPv6Address"}


def networking(options: Options) -> tuple[str, Json]:
    """Return ``NetworkMode`` and ``EndpointsConfig``, which is empty for a single network without settings."""
    requested = [_network(options, word) for word in options.many("network")] or [("default", {})]
    names = [name for name, _ in requested]
    for name in names:
        if names.count(name) > 1:
            raise UsageFault(f'network "{name}" is specified multiple times')
        if len(names) > 1 and _is_special(name):
            raise UsageFault(f"conflicting options: cannot attach both user-defined networks and '{name}'")
    _apply_endpoint_flags(options, requested[0][0], requested[0][1])
    endpoints = dict(requested)
    if len(endpoints) == 1 and not requested[0][1]:
        endpoints = {}
    return names[0], endpoints


def settings(
    addresses: dict[str, str], *, aliases: list[str], links: list[str], link_local: list[str], options: dict[str, str]
) -> Json:
    """Return the settings of one endpoint; keys of *addresses* are ``ip`` and ``ip6``."""
    endpoint: Json = {}
    ipam: Json = {_ADDRESSES[key]: value for key, value in addresses.items() if value}
    if link_local:
        ipam["LinkLocalIPs"] = link_local
    for key, value in (("IPAMConfig", ipam), ("Aliases", aliases), ("Links", links), ("DriverOpts", options)):
        if value:
            endpoint[key] = value
    return endpoint


def _is_special(name: str) -> bool:
    return name in ("host", "none") or name.startswith("container:")


def _network(options: Options, word: str) -> tuple[str, Json]:
    if "=" not in word or word.startswith("container:"):
        return word, {}
    name = ""
    endpoint: Json = {}
    ipam: Json = {}
    for part in word.split(","):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise options.refuse("network", word, f"invalid field {part}: use key=value")
        if key == "name":
            name = value
        elif key in _ADDRESSES:
            ipam[_ADDRESSES[key]] = value
        elif key in _LONG_FORM_SETTERS:
            _LONG_FORM_SETTERS[key](endpoint, value)
        else:
            raise options.refuse("network", word, f"invalid field key {key}")
    if not name:
        raise options.refuse("network", word, "the name is missing: use name=NETWORK")
    if ipam:
        endpoint["IPAMConfig"] = ipam
    return name, endpoint


def _alias(endpoint: Json, value: str) -> None:
    endpoint.setdefault("Aliases", []).append(value)


def _mac(endpoint: Json, value: str) -> None:
    endpoint["MacAddress"] = value


def _option(endpoint: Json, value: str) -> None:
    key, _, text = value.partition("=")
    endpoint.setdefault("DriverOpts", {})[key] = text


def _priority(endpoint: Json, value: str) -> None:
    try:
        endpoint["GwPriority"] = integer(value)
    except ValueError:
        raise UsageFault(f"invalid gw-priority {value}: not a whole number") from None


_LONG_FORM_SETTERS = {"alias": _alias, "mac-address": _mac, "driver-opt": _option, "gw-priority": _priority}


def _apply_endpoint_flags(options: Options, name: str, endpoint: Json) -> None:
    """Add the endpoint flags to the first network's settings.  Raises UsageFault for duplicates, as Docker does."""
    user_defined = not (_is_special(name) or name in ("default", "bridge"))
    extra = settings(
        {"ip": options.text("ip"), "ip6": options.text("ip6")},
        aliases=options.many("network-alias"),
        links=options.many("link") if user_defined else [],
        link_local=options.many("link-local-ip"),
        options={},
    )
    if options.text("mac-address"):
        extra["MacAddress"] = options.text("mac-address")
    flags = {"IPAMConfig": "--ip", "Aliases": "--network-alias", "MacAddress": "--mac-address", "Links": "--link"}
    for key, value in extra.items():
        if key in endpoint:
            raise UsageFault(
                f"conflicting options: cannot specify both {flags[key]} and the same setting in --network {name}"
            )
        endpoint[key] = value
