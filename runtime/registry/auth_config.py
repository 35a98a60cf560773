"""Credentials of clients: the headers ``X-Registry-Auth`` and ``X-Registry-Config`` of Docker's API.  Pure."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

T = TypeVar("T")
_LONGEST = 1 << 16


class Credentials(msgspec.Struct, frozen=True):
    """What a client sends for a registry; all fields are empty for anonymous access."""

    username: str = ""
    password: str = ""
    auth: str = ""
    """``user:password`` in base64, instead of the two fields above."""
    identitytoken: str = ""
    """A refresh token of the registry's token server."""
    registrytoken: str = ""
    """A bearer token, sent to the registry unchanged."""
    serveraddress: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, serveraddress={self.serveraddress!r})"

    @property
    def has_basic(self) -> bool:
        return bool(self.username and self.password)


ANONYMOUS = Credentials()


def from_header(text: str) -> Credentials:
    """Decode ``X-Registry-Auth``.  As in Docker, a header that cannot be decoded means anonymous access."""
    found = _decoded(text, Credentials)
    return normalized(found) if found else ANONYMOUS


def by_host(text: str) -> dict[str, Credentials]:
    """Decode ``X-Registry-Config``: credentials by registry, for the images that a build pulls."""
    found = _decoded(text, dict[str, Credentials]) or {}
    return {server_host(host): normalized(credentials) for host, credentials in found.items()}


def normalized(credentials: Credentials) -> Credentials:
    """Return the credentials with user name and password taken from ``auth`` if they are only there."""
    if not credentials.auth or credentials.username:
        return credentials
    try:
        text = base64.b64decode(credentials.auth, validate=True).decode()
    except (binascii.Error, ValueError):
        return credentials
    username, _, password = text.partition(":")
    return msgspec.structs.replace(credentials, username=username, password=password.rstrip("\0"), auth="")


def server_host(address: str) -> str:
    """Return the registry of a server address as clients store it: ``https://index.docker.io/v1/`` is ``docker.io``."""
    host = address.strip().split("://", 1)[-1].split("/", 1)[0].lower()
    return "docker.io" if host in ("", "index.docker.io", "registry-1.docker.io", "docker.io") else host


def _decoded(text: str, kind: type[T]) -> T | None:
    if not text or len(text) > _LONGEST:
        return None
    try:
        data = base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return None
