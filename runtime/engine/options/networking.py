"""Networking options of a create request: validation, and translation into netd's sandbox request.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address

import msgspec

from netd.api import PREDEFINED_NETWORKS, EndpointSettings, IPAMConfig, PortBindings, SandboxRequest
from netd.common import allow
from netd.common.addresses import Family, is_usable
from netd.common.digits import unsigned
from netd.common.errors import BadRequest, join_faults
from netd.common.ids import is_id, short
from netd.portmap import port_spec
from netd.portmap.port_spec import HIGHEST
from runtime.container_config import Config, HostConfig, NetworkingConfig, joined_container, legacy_links
from runtime.engine.options import sysctls
from runtime.record import ContainerRecord


def mode(host: HostConfig) -> str:
    """Return the network mode; Docker's other spellings of the default become ``bridge``."""
    return "bridge" if host.network_mode in ("", "default") else host.network_mode


def shares_network(host: HostConfig) -> bool:
    return joined_container(host.network_mode) is not None


def owns_network(host: HostConfig) -> bool:
    """Return whether the container has a network namespace of its own."""
    return not shares_network(host) and mode(host) != "host"


def needs_no_network(record: ContainerRecord) -> bool:
    """Return whether the container has only loopback or the host's network: nothing that netd must create."""
    if shares_network(record.host):
        return False
    names = set(record.endpoints) or {mode(record.host)}
    return record.config.network_disabled or names == {"none"} or names == {"host"}


def endpoints(config: NetworkingConfig | None, host: HostConfig) -> dict[str, EndpointSettings]:
    """Return the requested endpoints by network, without fields that a client copied from an inspect response.

    If the request has none, the network mode names the only network.
    """
    requested = {}
    for name, settings in ((config.endpoints_config if config else None) or {}).items():
        if settings is None:
            raise BadRequest(f"invalid config for network {name}: EndpointsConfig is nil")
        network = "bridge" if name == "default" else name
        _check_endpoint(network, settings)
        requested[network] = settings.requested()
    return requested or ({} if shares_network(host) else {mode(host): EndpointSettings()})


def resolved_endpoints(
    requested: Mapping[str, EndpointSettings], joined: Mapping[str, EndpointSettings]
) -> dict[str, EndpointSettings]:
    """Return the requested settings by the names of the joined networks.

    Network ids and DNS names are added: unlike other operational fields, they stay recorded while the container is
    stopped.
    """
    names = {key: _joined_name(key, joined) for key in requested}
    endpoints = {name: requested[key].requested() for key, name in names.items() if name}
    for name, settings in joined.items():
        endpoint = endpoints.get(name, EndpointSettings())
        endpoints[name] = msgspec.structs.replace(
            endpoint, network_id=settings.network_id, dns_names=settings.dns_names
        )
    return endpoints


def _joined_name(name: str, joined: Mapping[str, EndpointSettings]) -> str | None:
    if name in joined:
        return name
    return next((key for key, settings in joined.items() if settings.network_id.startswith(name)), None)


def endpoint_key(endpoints: Mapping[str, EndpointSettings], network: str) -> str | None:
    """Return the key in *endpoints* of a network given by name or prefix of its id; None if it is not in there."""
    if network in endpoints:
        return network
    return next(
        (key for key, settings in endpoints.items() if network and settings.network_id.startswith(network)), None
    )


def check_endpoint(network: str, settings: EndpointSettings) -> None:
    """Raise BadRequest for settings that are invalid for an endpoint of *network*."""
    if problems := _problems(network, settings):
        raise BadRequest(f"invalid endpoint settings:\n{join_faults(problems)}")


def _check_endpoint(network: str, settings: EndpointSettings) -> None:
    try:
        check_endpoint(network, settings)
    except BadRequest as problem:
        raise BadRequest(f"invalid config for network {network}: {problem.message}") from None


def _problems(network: str, settings: EndpointSettings) -> list[str]:
    config = settings.ipam_config or IPAMConfig()
    addresses: dict[Family, str] = {4: config.ipv4_address, 6: config.ipv6_address}
    if network in PREDEFINED_NETWORKS and any(addresses.values()):
        problems = ["user-specified IP address is supported on user-defined networks only"]
    else:
        invalid = ((family, text) for family, text in addresses.items() if text and not is_usable(text, family))
        problems = [f"invalid IPv{family} address: {text}" for family, text in invalid]
    if network in PREDEFINED_NETWORKS and settings.aliases:
        problems.append("network-scoped aliases are only supported for user-defined networks")
    return problems


def check(config: Config, host: HostConfig, endpoints: Mapping[str, EndpointSettings]) -> None:
    """Raise BadRequest for networking options that are malformed or conflict."""
    if len(config.hostname.encode()) > 64:
        raise BadRequest(f'hostname "{config.hostname}" is too long (maximum 64 bytes)')
    if len(config.domainname.encode()) > 64:
        raise BadRequest(f'domain name "{config.domainname}" is too long (maximum 64 bytes)')
    macs = (config.mac_address, *(endpoint.mac_address for endpoint in endpoints.values()))
    if any(macs) and not owns_network(host):
        raise BadRequest("conflicting options: mac-address and the network mode")
    if host.network_mode == "container" or host.network_mode == "container:":
        raise BadRequest("invalid network mode: invalid container format container:<name|id>")
    if shares_network(host):
        _check_shared(config, host)
    if mode(host) == "host" and host.links:
        raise BadRequest(
            "conflicting options: host type networking can't be used with links. This would result in undefined"
            " behavior"
        )
    check_ports(config.exposed_ports or (), host.port_bindings or {})
    allow.rules(config.labels or {})
    _check_hosts(host)
    check_exclusive(set(endpoints) or {mode(host)})


def check_ports(exposed: Iterable[str], bindings: PortBindings) -> None:
    """Raise BadRequest for malformed ports and port bindings."""
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
    for value, text in conflicts:
        if value:
            raise BadRequest(f"conflicting options: {text}")


def _check_port(text: str) -> None:
    number, _, protocol = text.partition("/")
    if protocol in ("tcp", "udp") and unsigned(number, HIGHEST):
        return
    found = port_spec.parse(text)
    if found is None:
        raise BadRequest(f"invalid JSON: invalid port '{text}': use a number, or number/protocol such as 80/tcp")
    if not found.in_bounds:
        raise BadRequest(f'invalid port specification: "{text}"')


def _check_bindings(bindings: PortBindings) -> None:
    for port, port_bindings in bindings.items():
        for binding in port_bindings or ():
            if unsigned(binding.host_port, HIGHEST) is not None and not binding.host_ip and not binding.allow:
                continue
            if binding.host_port and not _is_host_port(binding.host_port):
                raise BadRequest(f'invalid port specification: "{binding.host_port}" for {port}')
            if binding.host_ip and not _is_address(binding.host_ip):
                raise BadRequest(f"invalid JSON: invalid host address {binding.host_ip!r} for {port}")
            if binding.allow:
                allow.networks(binding.allow, f"port {port}")


def _is_host_port(text: str) -> bool:
    """Return whether *text* is a port or a range without protocol; 0 leaves the choice to netd."""
    found = port_spec.parse(text)
    return found is not None and not found.protocol and found.first <= found.last <= HIGHEST


def _check_hosts(host: HostConfig) -> None:
    for entry in host.extra_hosts or ():
        name, colon, address = entry.partition(":")
        if not colon or not name:
            raise BadRequest(f'bad format for add-host: "{entry}"')
        if address != "host-gateway" and not _is_address(address.strip("[]")):
            raise BadRequest(f'invalid IP address in add-host: "{address}"')
    for server in host.dns or ():
        if not _is_address(server):
            raise BadRequest(f"invalid DNS server: {server!r} is not an IP address")


def check_exclusive(names: Collection[str]) -> None:
    """Raise BadRequest if *names*, the networks of a container, hold ``host`` or ``none`` and a further network."""
    if len(names) > 1 and ("host" in names or "none" in names):
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


def _links(host: HostConfig) -> list[str] | None:
    """Return the links with the targets' short ids, which are DNS names that do not change, where they are known."""
    links = legacy_links(host)
    return [f"{short(target) if is_id(target) else target}:{alias}" for target, alias in links] or host.links


def check_word(what: str, text: str) -> None:
    """Raise BadRequest for an empty text and for white space, which the files and names of a container cannot have."""
    if text.split() != [text]:
        raise BadRequest(f"invalid {what} {text!r}: it may not be empty or contain spaces or line breaks")


def sandbox_request(record: ContainerRecord, hostname: str, netns: str = "") -> SandboxRequest:
    """Return the request that creates the sandbox of a container.

    *netns* is the path of its network namespace; if it is empty, netd creates the namespace.
    """
    config, host = record.config, record.host
    network_sysctls, _ = sysctls.split(
        host.sysctls, own_network=owns_network(host), own_ipc=True, own_uts=host.uts_mode != "host"
    )
    disabled = config.network_disabled
    requested = {name: endpoint.requested() for name, endpoint in record.endpoints.items()}
    return SandboxRequest(
        id=record.id,
        name=record.name,
        hostname=hostname,
        domainname=config.domainname,
        network_mode="none" if disabled else mode(host),
        networks=None if disabled else requested or None,
        exposed_ports=sorted(config.exposed_ports or ()) or None,
        port_bindings=host.port_bindings,
        publish_all_ports=host.publish_all_ports,
        dns=host.dns,
        dns_search=host.dns_search,
        dns_options=host.dns_options,
        extra_hosts=host.extra_hosts,
        links=_links(host),
        sysctls=network_sysctls or None,
        labels=config.labels,
        netns=netns,
    )
