"""The contents of a container's resolv.conf and hosts files.  Pure: the host's own files are passed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from netd.dns.resolv_conf import parse

HOST_GATEWAY = "host-gateway"
"""In place of an address: that of the host on the default bridge."""
RESOLVER = "127.0.0.11"
_BASE = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class HostFiles:
    """Contents of the host's own files."""

    resolv_conf: str = ""
    hosts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """What the files of a container depend on."""

    hostname: str
    domainname: str = ""
    on_host: bool = False
    """The container uses the host's network namespace."""
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    has_ipv6: bool = False
    """An endpoint of the container has an IPv6 address."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    """(name, address or ``host-gateway``)"""


def asks_for_dots(container: FileSettings, host: HostFiles) -> bool:
    """Return whether the host or the container sets ``ndots``, valid or not; then single labels are not forwarded."""
    return any(option.startswith("ndots") for option in (*parse(host.resolv_conf).options, *container.dns_options))


def resolv_conf(container: FileSettings, host: HostFiles, default_servers: Sequence[str] = ()) -> str:
    """Return the container's resolv.conf; on the host's network, the host's file with the container's settings."""
    found = parse(host.resolv_conf)
    search = (
        found.search if not container.dns_search else tuple(domain for domain in container.dns_search if domain != ".")
    )
    options = tuple(container.dns_options or found.options)
    servers = container.dns or tuple(default_servers)
    if not container.on_host:
        source = ", ".join(servers) if servers else "the host's name servers"
        head = f"# Written by netd. Names that are not containers' are asked of {source}."
        return _resolv_conf(head, (RESOLVER,), search, _with_dots(options), found.others)
    if not (servers or container.dns_search or container.dns_options):
        return host.resolv_conf
    return _resolv_conf("# Written by netd.", servers or found.servers, search, options, found.others)


def hosts(container: FileSettings, host: HostFiles, gateways: Sequence[str]) -> str:
    """Return the container's hosts file; *gateways* replace ``host-gateway``, one address per family.

    A container without IPv6 gets no IPv6 addresses but those of loopback, which has ::1 everywhere, as in Docker.
    """
    has_ipv6 = container.on_host or container.has_ipv6
    extra = (f"{address}\t{name}" for name, address in _extra(container, gateways) if has_ipv6 or ":" not in address)
    base = _BASE
    if container.on_host and host.hosts:
        base = host.hosts
    return "".join(f"{line}\n" for line in (base.removesuffix("\n"), *extra, *_own(container)))


def _extra(container: FileSettings, gateways: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, address in container.extra_hosts:
        for resolved in gateways if address == HOST_GATEWAY else (address,):
            yield name, resolved


def _own(container: FileSettings) -> Iterator[str]:
    """Yield a line for each address of the container, with its fully qualified name first."""
    host = container.hostname
    full = f"{host}.{container.domainname}" if container.domainname else host
    names = f"{full} {host.partition('.')[0]}" if "." in full else full
    for address in container.addresses:
        yield f"{address.ip}\t{names}"


def _resolv_conf(
    head: str, servers: Iterable[str], search: Sequence[str], options: Sequence[str], others: Sequence[str]
) -> str:
    lines = [head, *(f"nameserver {server}" for server in servers)]
    lines += [f"search {' '.join(search)}"] if search else []
    lines += [f"options {' '.join(options)}"] if options else []
    lines += others
    return "".join(f"{line}\n" for line in lines)


def _with_dots(options: Sequence[str]) -> tuple[str, ...]:
    """Add ``ndots:0`` unless a valid ndots is set, so that resolvers query a bare name before the search domains."""
    kept = tuple(option for option in options if not option.startswith("ndots") or option.partition(":")[2].isdigit())
    return kept if any(option.startswith("ndots:") for option in kept) else (*kept, "ndots:0")
