"""The driver options of endpoints: name and sysctls of the interface, with Docker's names.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from netd.common.errors import BadRequest
from netd.drivers import options

Settings: TypeAlias = tuple[tuple[str, str], ...]

IFNAME = options.PREFIX + "endpoint.ifname"
SYSCTLS = options.PREFIX + "endpoint.sysctls"
KNOWN = (IFNAME, SYSCTLS)
_SYSCTL = re.compile(r"(net\.(?:ipv4|ipv6|mpls)\.[a-z0-9_]+\.(?:IFNAME|ifname)\.[A-Za-z0-9_]+)=([^\n\r\0]+)\Z")
_WITHOUT_IPV6 = ("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6")


def faults(given: Mapping[str, str]) -> Iterator[str]:
    """Yield the faults of an endpoint's options."""
    name = given.get(IFNAME, "")
    if name and not options.is_link_name(name):
        yield f"invalid interface name {name!r}: it has up to 15 characters, without spaces, '/', ':' and '%'"
    for text in _listed(given):
        if not _SYSCTL.match(text):
            yield (
                f"unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as"
                " 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            )


def sysctls(given: Mapping[str, str]) -> Settings:
    """Return the sysctls of the interface, with IFNAME in place of its name.  Raises BadRequest."""
    found = []
    for text in _listed(given):
        match = _SYSCTL.match(text)
        if match is None:
            raise BadRequest(f"{SYSCTLS} cannot be read: {text}")
        found.append((match[1].replace(".ifname.", ".IFNAME."), match[2]))
    return tuple(found)


def without_ipv6(container: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Return True if the sysctls of a container or of its interface disable IPv6."""
    of_interface = (value for name, value in sysctls(given) if name == "net.ipv6.conf.IFNAME.disable_ipv6")
    return any(value != "0" for value in (*(container.get(name, "0") for name in _WITHOUT_IPV6), *of_interface))


def _listed(given: Mapping[str, str]) -> list[str]:
    text = given.get(SYSCTLS, "")
    return text.split(",") if text else []
