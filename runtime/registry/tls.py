"""TLS settings of registries: the folders ``certs.d/HOST`` with authorities and client certificates, as Docker.

``*.crt`` are certificates of authorities, trusted in addition to the system's; ``NAME.cert`` with ``NAME.key`` is a
client certificate.  The folders belong to the administrator; blocking, to be called in a thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.registry.errors import RegistryError

_MOST_FILES = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """How the servers of one registry are verified."""

    context: ssl.SSLContext
    without_client: ssl.SSLContext
    """The same without the client certificate, for other hosts that the registry refers to."""
    is_pinned: bool = False
    """A folder with an authority exists, so the registry must prove its identity even if it may be insecure."""


@dataclass(slots=True)
class TrustStore:
    """Reads the first folder of *directories* that has one for a host; unchanged files are read once per operation."""

    directories: Sequence[Path]
    _verified: ssl.SSLContext | None = field(default=None, init=False)

    def load(self, host: str) -> Trust:
        """Return the settings for ``name`` or ``name:port``.  Raises RegistryError for a broken folder."""
        folder = self._folder(host)
        if folder is None:
            self._verified = self._verified or ssl.create_default_context()
            return Trust(self._verified, self._verified)
        files = sorted(folder.iterdir())[:_MOST_FILES]
        authorities = [file for file in files if file.suffix == ".crt"]
        return Trust(
            _context(folder, authorities, [file for file in files if file.suffix == ".cert"]),
            _context(folder, authorities, []),
            bool(authorities),
        )

    def _folder(self, host: str) -> Path | None:
        if not host or "/" in host or host in (".", ".."):
            return None
        return next((found for folder in self.directories if (found := folder / host).is_dir()), None)


def unverified() -> ssl.SSLContext:
    """Return a context that accepts any certificate, for registries that may be insecure."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(folder: Path, authorities: Sequence[Path], certificates: Sequence[Path]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for authority in authorities:
        try:
            context.load_verify_locations(authority)
        except (ssl.SSLError, OSError) as error:
            raise RegistryError(f"the certificate {authority} cannot be loaded: {error}; replace the file") from None
    for certificate in certificates:
        key = certificate.with_suffix(".key")
        if not key.exists():
            raise RegistryError(f"missing key {key.name} for client certificate {certificate.name} in {folder}")
        try:
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise RegistryError(f"the client certificate {certificate} cannot be loaded: {error}") from None
    return context
