"""Which registries may be reached without verified TLS, and which mirrors are asked first.  Pure.

Plain HTTP, and TLS without verification, are for loopback addresses and for registries named in the configuration only.
A name counts as loopback only if *all* its addresses are (CVE-2026-92543).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from netd.common.config import Settings
from netd.common.errors import BadRequest

HUB = "docker.io"
HUB_HOST = "registry-1.docker.io"
_LOOPBACK: tuple[IPv4Network | IPv6Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The rules of one daemon.  Hosts are ``name``, ``name:port`` or ``[address]:port``, in lower case."""

    insecure: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]
    mirrors: tuple[URL, ...]

    @classmethod
    def from_settings(cls, settings: Settings) -> AccessPolicy:
        """Raises BadRequest for an entry that is no registry, network or mirror."""
        insecure_registries, registry_mirrors = settings.insecure_registries, settings.registry_mirrors
        networks = [network for text in insecure_registries if (network := _network(text)) is not None]
        names = [_host(text) for text in insecure_registries if _network(text) is None]
        return cls(frozenset(names), (*_LOOPBACK, *networks), tuple(_mirror(text) for text in registry_mirrors))

    def is_named(self, url: URL) -> bool:
        """Return whether the configuration names this host; an entry without a port is for all ports."""
        host = bracketed(url)
        return host in self.insecure or f"{host}:{url.port}" in self.insecure

    def permits(self, addresses: Iterable[str]) -> bool:
        """Return whether all *addresses*, of which there must be some, are loopback or in a configured network."""
        found = [address for text in addresses if (address := address_of(text)) is not None]
        return bool(found) and all(any(address in network for network in self.networks) for address in found)


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address if *host* is written as one, an IPv4-mapped one as IPv4; None for a name."""
    try:
        found = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def bracketed(url: URL) -> str:
    host = (url.host or "").lower()
    return f"[{host}]" if ":" in host else host


def is_same_origin(first: URL, second: URL) -> bool:
    return (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text) if "/" in text else None
    except ValueError:
        raise BadRequest(f"insecure_registries: {text!r} is no network: write it as 10.0.0.0/8") from None


def _host(text: str) -> str:
    host = text.strip().lower()
    try:
        url = URL(f"http://{host}")
        known = bool(url.host) and url.raw_path == "/" and not url.user and not url.query_string
    except ValueError:
        known = False
    if not known or "://" in text:
        raise BadRequest(
            f"insecure_registries: {text!r} is no registry: write it as registry.example:5000, without scheme and path"
        )
    return host


def _mirror(text: str) -> URL:
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        url, port = URL(), None
    if url.scheme not in _PORTS or not url.host or not port:
        raise BadRequest(f"invalid mirror: {text!r} is no URL with http:// or https:// and a host")
    if url.user is not None or url.password is not None:
        raise BadRequest(f"invalid mirror: username/password not allowed in URI {url.host!r}")
    if url.path.strip("/") or url.query_string or url.fragment:
        raise BadRequest(f"invalid mirror: path, query, or fragment at end of the URI {text!r}")
    return url.origin()
