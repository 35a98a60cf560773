"""Requests for sandboxes: validation, and conversion to a record without endpoints.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from netd.api import EndpointSettings, SandboxRequest
from netd.common import allow
from netd.common.errors import BadRequest
from netd.common.ids import NAME, NAME_RULE, short
from netd.container_files import HOST_GATEWAY
from netd.model import Sandbox
from netd.portmap.requests import exposed, port_requests

_ID = re.compile(r"[0-9a-f]{64}\Z")
_SYSCTL = re.compile(r"net(\.[A-Za-z0-9_-]+){2,}\Z")
_PER_INTERFACE = re.compile(r"net\.\w+\.(conf|neigh)\.(?!all\.|default\.|lo\.)")
_LONGEST_NAME = 253
_LONGEST_HOSTNAME = 64


def read(request: SandboxRequest) -> Sandbox:
    """Return the record for the request, without endpoints.  Raises BadRequest naming the invalid field."""
    check_id(request.id)
    check_name(request.name)
    _check_words("hostname", (request.hostname, request.domainname))
    if len(request.hostname.encode()) > _LONGEST_HOSTNAME:
        raise BadRequest(f'hostname "{request.hostname}" is too long (maximum {_LONGEST_HOSTNAME} bytes)')
    bindings = request.port_bindings or {}
    exposed_ports = exposed(request.exposed_ports or (), bindings)
    return Sandbox(
        id=request.id,
        name=request.name,
        hostname=request.hostname or default_hostname(request.id),
        domainname=request.domainname,
        exposed=exposed_ports,
        port_requests=port_requests(
            bindings, exposed_ports if request.publish_all_ports else (), allow.rules(request.labels or {})
        ),
        dns=_servers(request.dns or ()),
        dns_search=_check_words("DNS search domain", request.dns_search or ()),
        dns_options=_check_words("DNS option", request.dns_options or ()),
        extra_hosts=tuple(_extra_host(text) for text in request.extra_hosts or ()),
        links=parse_links(request.links or ()),
        sysctls=_sysctls(request.sysctls or {}),
        labels=request.labels or {},
    )


def networks(request: SandboxRequest) -> dict[str, EndpointSettings]:
    """Return the endpoint settings by network name or id; the network mode's network, if contained, is first."""
    mode = canonical_name(request.network_mode or "default")
    settings_by_name = {canonical_name(name): settings for name, settings in (request.networks or {}).items()}
    if not settings_by_name:
        return {mode: EndpointSettings()}
    first = {mode: settings_by_name[mode]} if mode in settings_by_name else {}
    return first | settings_by_name


def parse_links(texts: Iterable[str]) -> dict[str, str]:
    """Parse links of the forms ``name``, ``name:alias`` and ``/name:/owner/alias``; return alias → name."""
    found = {}
    for text in texts:
        name, _, alias = text.partition(":")
        name, alias = name.lstrip("/"), (alias or name).rpartition("/")[2]
        if not NAME.match(name) or not alias or alias.split() != [alias]:
            raise BadRequest(f"invalid link {text}: write it as container:alias")
        found[alias] = name
    return found


def canonical_name(network: str) -> str:
    """Return a network's name or id; ``default``, Docker's alias for the default network, becomes ``bridge``."""
    return "bridge" if network == "default" else network


def default_hostname(identifier: str) -> str:
    return short(identifier)


def check_id(identifier: str) -> None:
    if not _ID.match(identifier):
        raise BadRequest(f'invalid sandbox id "{identifier}": it is the container\'s id, 64 hexadecimal digits')


def check_name(name: str) -> None:
    if not NAME.match(name) or len(name) > _LONGEST_NAME:
        raise BadRequest(
            f"invalid container name ({name!r}): only {NAME_RULE} is allowed, up to {_LONGEST_NAME} characters"
        )


def _check_words(field: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts.  Raises BadRequest for spaces and line breaks, which would break the files of the container."""
    found = tuple(texts)
    for text in found:
        if text and text.split() != [text]:
            raise BadRequest(f"invalid {field} {text!r}: it may not contain spaces or line breaks")
    return found


def _servers(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(_address(text, "name server")) for text in texts)


def _extra_host(text: str) -> tuple[str, str]:
    name, colon, address = text.partition(":")
    if not colon or not name or name.split() != [name]:
        raise BadRequest(f'bad format for add-host: "{text}"')
    if address == HOST_GATEWAY:
        return name, address
    return name, _address(address.strip("[]"), "address in add-host")


def _address(text: str, field: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise BadRequest(f'invalid {field}: "{text}" is not an IP address') from None


def _sysctls(sysctls: Mapping[str, str]) -> dict[str, str]:
    for name in _refused(sysctls):
        raise BadRequest(
            f"sysctl {name} cannot be set: only net.* settings of the whole container are allowed, not of an interface"
        )
    return dict(sysctls)


def _refused(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not _SYSCTL.match(name) or _PER_INTERFACE.match(name))
