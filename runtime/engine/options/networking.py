"""What a create request says about networking: checked, and put as the one call that netd takes.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import msgspec

from netd.api import EndpointSettings, IPAMConfig, PortBindings, SandboxRequest
from netd.common import allow
from netd.common.addresses import Family, is_usable
from netd.common.digits import unsigned
from netd.common.errors import BadRequest, join_faults
from runtime.container_config import Config, HostConfig, NetworkingConfig
from runtime.engine.options import sysctls
from runtime.record import ContainerRecord

PREDEFINED = ("bridge", "host", "none")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([A-Za-z0-9]+))?\Z", re.ASCII)
_HIGHEST = 65535


def mode(host: HostConfig) -> str:
    """Return the network mode with Docker's other spellings of the default removed."""
    return "bridge" if host.network_mode in ("", "default") else host.network_mode


def donor(host: HostConfig, prefix: str = "container:") -> str | None:
    """Return whose network a ``container:NAME`` mode asks for."""
    return host.network_mode.removeprefix(prefix) if host.network_mode.startswith(prefix) else None


def shares_network(host: HostConfig) -> bool:
    return donor(host) is not None


def owns_network(host: HostConfig) -> bool:
    """Tell whether the container has a network namespace of its own."""
    return not shares_network(host) and mode(host) != "host"


def endpoints(given: NetworkingConfig | None, host: HostConfig) -> dict[str, EndpointSettings]:
    """Return the endpoints asked for, by network, without what a client copied from an inspect answer.

    Without any, the network mode names the only one.
    """
    found = {}
    for name, settings in ((given.endpoints_config if given else None) or {}).items():
        if settings is None:
            raise BadRequest(f"invalid config for network {name}: EndpointsConfig is nil")
        network = "bridge" if name == "default" else name
        _check_endpoint(network, settings)
        found[network] = settings.requested()
    return found or ({} if shares_network(host) else {mode(host): EndpointSettings()})


def resolved(
    asked: Mapping[str, EndpointSettings], joined: Mapping[str, EndpointSettings]
) -> dict[str, EndpointSettings]:
    """Return the wishes under the names of the networks that were joined for them, with what outlives a stop."""
    names = {name: _name_of(name, joined) for name in asked}
    known = {name: asked[key].requested() for key, name in names.items() if name}
    for name, one in joined.items():
        kept = known.get(name, EndpointSettings())
        known[name] = msgspec.structs.replace(kept, network_id=one.network_id, dns_names=one.dns_names)
    return known


def _name_of(name: str, joined: Mapping[str, EndpointSettings]) -> str | None:
    if name in joined:
        return name
    return next((key for key, one in joined.items() if one.network_id.startswith(name)), None)


def stored_name(endpoints: Mapping[str, EndpointSettings], network: str) -> str | None:
    """Return under which name a network, given by name or id, is among *endpoints*."""
    if network in endpoints:
        return network
    return next((key for key, one in endpoints.items() if network and one.network_id.startswith(network)), None)


def check_endpoint(network: str, settings: EndpointSettings) -> None:
    """Raise BadRequest when the settings cannot be those of an endpoint of *network*."""
    if problems := _problems(network, settings):
        raise BadRequest(f"invalid endpoint settings:\n{join_faults(problems)}")


def _check_endpoint(network: str, settings: EndpointSettings) -> None:
    try:
        check_endpoint(network, settings)
    except BadRequest as problem:
        raise BadRequest(f"invalid config for network {network}: {problem.message}") from None


def _problems(network: str, settings: EndpointSettings) -> list[str]:
    asked = settings.ipam_config or IPAMConfig()
    given: dict[Family, str] = {4: asked.ipv4_address, 6: asked.ipv6_address}
    if network in PREDEFINED and any(given.values()):
        found = ["user-specified IP address is supported on user-defined networks only"]
    else:
        wrong = ((family, text) for family, text in given.items() if text and not is_usable(text, family))
        found = [f"invalid IPv{family} address: {text}" for family, text in wrong]
    if network in PREDEFINED and settings.aliases:
        found.append("network-scoped aliases are only supported for user-defined networks")
    return found


def check(config: Config, host: HostConfig, asked: Mapping[str, EndpointSettings]) -> None:
    """Raise BadRequest for networking options that are malformed or exclude one another."""
    if len(config.hostname.encode()) > 64:
        raise BadRequest(f'hostname "{config.hostname}" is too long (maximum 64 bytes)')
    if host.network_mode == "container" or host.network_mode == "container:":
        raise BadRequest("invalid network mode: invalid container format container:<name|id>")
    if shares_network(host):
        _check_shared(config, host)
    if mode(host) == "host" and host.links:
        raise BadRequest("conflicting options: host type networking can't be used with links")
    check_ports(config.exposed_ports or (), host.port_bindings or {})
    allow.rules(config.labels or {})
    _check_hosts(host)
    _check_exclusive(host, asked)


def check_ports(exposed: Iterable[str], bindings: PortBindings) -> None:
    """Raise BadRequest for ports that cannot be read."""
    for text in {*exposed, *bindings}:
        _check_port(text)
    _check_bindings(bindings)


def _check_shared(config: Config, host: HostConfig) -> None:
    conflicts: Iterable[tuple[object, str]] = (
        (config.hostname, "hostname and the network mode"),
        (host.links, "container type network can't be used with links. This would result in undefined behavior"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
        (config.exposed_ports, "port exposing and the container type network mode"),
    )
    for given, words in conflicts:
        if given:
            raise BadRequest(f"conflicting options: {words}")


def _check_port(text: str) -> None:
    number, _, protocol = text.partition("/")
    if protocol in ("tcp", "udp") and unsigned(number, _HIGHEST):
        return
    found = _PORT.match(text)
    if not found:
        raise BadRequest(f"invalid JSON: invalid port '{text}': use a number, or number/protocol such as 80/tcp")
    ports = [int(part) for part in found.group(1, 2) if part]
    if not all(0 < port <= _HIGHEST for port in ports) or ports != sorted(ports):
        raise BadRequest(f'invalid port specification: "{text}"')


def _check_bindings(bindings: PortBindings) -> None:
    for port, many in bindings.items():
        for one in many or ():
            if unsigned(one.host_port, _HIGHEST) is not None and not one.host_ip and not one.allow:
                continue
            found = _PORT.match(one.host_port)
            good = not one.host_port or (found and not found[3] and _in_order(found[1], found[2] or found[1]))
            if not good:
                raise BadRequest(f'invalid port specification: "{one.host_port}" for {port}')
            if one.host_ip and not _is_address(one.host_ip):
                raise BadRequest(f"invalid JSON: invalid host address {one.host_ip!r} for {port}")
            if one.allow:
                allow.networks(one.allow, f"port {port}")


def _in_order(first: str, last: str) -> bool:
    return 0 <= int(first) <= int(last) <= _HIGHEST


def _check_hosts(host: HostConfig) -> None:
    for entry in host.extra_hosts or ():
        name, colon, address = entry.partition(":")
        if not colon or not name:
            raise BadRequest(f'bad format for add-host: "{entry}"')
        if address != "host-gateway" and not _is_address(address.strip("[]")):
            raise BadRequest(f'invalid IP address in add-host: "{address}"')
    for server in host.dns or ():
        if not _is_address(server):
            raise BadRequest(f"invalid JSON: {server!r} is not the address of a name server")


def _check_exclusive(host: HostConfig, asked: Mapping[str, EndpointSettings]) -> None:
    names = set(asked) or {mode(host)}
    if len(names) > 1 and names & {"host", "none"}:
        raise BadRequest(
            "container cannot be connected to multiple networks with one of the networks in"
            f" {'host' if 'host' in names else 'private (none)'} mode"
        )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def request(record: ContainerRecord, shown_host: str, netns: str = "") -> SandboxRequest:
    """Return the call for all the networking of a container; *shown_host* is its host name.

    *netns* is the path of its network namespace, where netd is not to make it.
    """
    config, host = record.config, record.host
    network_sysctls, _ = sysctls.split(
        host.sysctls, own_network=owns_network(host), own_ipc=True, own_uts=host.uts_mode != "host"
    )
    disabled = config.network_disabled
    return SandboxRequest(
        id=record.id,
        name=record.name,
        hostname=shown_host,
        domainname=config.domainname,
        network_mode="none" if disabled else mode(host),
        networks=None if disabled else {name: one.requested() for name, one in record.endpoints.items()} or None,
        exposed_ports=sorted(config.exposed_ports or ()) or None,
        port_bindings=host.port_bindings,
        publish_all_ports=host.publish_all_ports,
        dns=host.dns,
        dns_search=host.dns_search,
        dns_options=host.dns_options,
        extra_hosts=host.extra_hosts,
        links=host.links,
        sysctls=network_sysctls or None,
        labels=config.labels,
        netns=netns,
    )
