"""The contents of a container's resolv.conf and hosts files.  Pure: the host's own files are passed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from netd.dns.resolv_conf import parse
from netd.engine.state.sandbox_request import HOST_GATEWAY
from netd.model import Sandbox

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


def asks_for_dots(sandbox: Sandbox, host: HostFiles) -> bool:
    """Return whether the host or the container sets ``ndots``, valid or not; then single labels are not forwarded."""
    return any(option.startswith("ndots") for option in (*parse(host.resolv_conf).options, *sandbox.dns_options))


def resolv_conf(sandbox: Sandbox, host: HostFiles, default_servers: Sequence[str] = ()) -> str:
    """Return the container's resolv.conf; on the host's network, the host's file with the container's settings."""
    found = parse(host.resolv_conf)
    search = found.search if not sandbox.dns_search else tuple(domain for domain in sandbox.dns_search if domain != ".")
    options = tuple(sandbox.dns_options or found.options)
    servers = sandbox.dns or tuple(default_servers)
    if not sandbox.on_host:
        source = ", ".join(servers) if servers else "the host's name servers"
        head = f"# Written by netd. Names that are not containers' are asked of {source}."
        return _resolv_conf(head, (RESOLVER,), search, _with_dots(options), found.others)
    if not (servers or sandbox.dns_search or sandbox.dns_options):
        return host.resolv_conf
    return _resolv_conf("# Written by netd.", servers or found.servers, search, options, found.others)


def hosts(sandbox: Sandbox, host: HostFiles, gateways: Sequence[str]) -> str:
    """Return the container's hosts file; *gateways* replace ``host-gateway``, one address per family.

    A container without IPv6 gets no IPv6 addresses but those of loopback, which has ::1 everywhere, as in Docker.
    """
    has_ipv6 = sandbox.on_host or any(endpoint.address6 for endpoint in sandbox.endpoints)
    extra = (f"{address}\t{name}" for name, address in _extra(sandbox, gateways) if has_ipv6 or ":" not in address)
    base = _BASE
    if sandbox.on_host and host.hosts:
        base = host.hosts
    return "".join(f"{line}\n" for line in (base.removesuffix("\n"), *extra, *_own(sandbox)))


def _extra(sandbox: Sandbox, gateways: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, address in sandbox.extra_hosts:
        for resolved in gateways if address == HOST_GATEWAY else (address,):
            yield name, resolved


def _own(sandbox: Sandbox) -> Iterator[str]:
    """Yield a line for each address of the container, with its fully qualified name first."""
    host = sandbox.hostname
    full = f"{host}.{sandbox.domainname}" if sandbox.domainname else host
    names = f"{full} {host.partition('.')[0]}" if "." in full else full
    for endpoint in sandbox.endpoints:
        for address in endpoint.addresses:
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
