"""The contents of a sandbox's resolv.conf and hosts files.  Pure: the host's own files are passed in."""

from __future__ import annotations

from collections.abc import Sequence

from netd import container_files
from netd.container_files import FileSettings, HostFiles
from netd.model import Sandbox


def asks_for_dots(sandbox: Sandbox, host: HostFiles) -> bool:
    """Return whether the host or the container sets ``ndots``, valid or not; then single labels are not forwarded."""
    return container_files.asks_for_dots(_settings(sandbox), host)


def resolv_conf(sandbox: Sandbox, host: HostFiles, default_servers: Sequence[str] = ()) -> str:
    """Return the container's resolv.conf; on the host's network, the host's file with the container's settings."""
    return container_files.resolv_conf(_settings(sandbox), host, default_servers)


def hosts(sandbox: Sandbox, host: HostFiles, gateways: Sequence[str]) -> str:
    """Return the container's hosts file; *gateways* replace ``host-gateway``, one address per family."""
    return container_files.hosts(_settings(sandbox), host, gateways)


def _settings(sandbox: Sandbox) -> FileSettings:
    return FileSettings(
        hostname=sandbox.hostname,
        domainname=sandbox.domainname,
        on_host=sandbox.on_host,
        addresses=tuple(address for endpoint in sandbox.endpoints for address in endpoint.addresses),
        has_ipv6=any(endpoint.address6 for endpoint in sandbox.endpoints),
        dns=tuple(sandbox.dns),
        dns_search=tuple(sandbox.dns_search),
        dns_options=tuple(sandbox.dns_options),
        extra_hosts=tuple(sandbox.extra_hosts),
    )
