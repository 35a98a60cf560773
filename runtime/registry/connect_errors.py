"""Errors of networks and TLS as errors of a registry, with the words of Docker's errors that clients match.  Pure."""

from __future__ import annotations

import errno
import ssl

from aiohttp.client_exceptions import (
    ClientConnectorDNSError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ServerDisconnectedError,
    ServerTimeoutError,
)
from yarl import URL

from runtime.registry.errors import BrokenTransfer, RegistryError, Unreachable, shown
from runtime.registry.resolver import NotPermitted

NETWORK_ERRORS = (ClientError, OSError, TimeoutError, ValueError)
"""What aiohttp raises for a request that failed."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_EOF")
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH)
_REMEDY = "name {host} in insecure_registries of netd.toml to permit plain HTTP"


def translated(method: str, url: URL, error: BaseException) -> RegistryError:
    """Return the error for a request to *url* that failed with *error*."""
    if isinstance(error, RegistryError):
        return error
    if isinstance(cause := _cause(error), NotPermitted):
        return not_permitted(url)
    reason = _reason(url, error, cause)
    if isinstance(error, ClientProxyConnectionError):
        reason = (
            f"proxyconnect tcp: {_reason(URL.build(scheme='http', host=error.host, port=error.port), error, cause)}"
        )
    return _kind(error, cause)(f'{method.capitalize()} "{plain(url)}": {reason}')


def not_permitted(url: URL) -> RegistryError:
    return RegistryError(
        f'Get "{plain(url)}": plain HTTP is permitted for loopback addresses only;'
        f" {_REMEDY.format(host=f'{url.host}:{url.port}')}"
    )


def plain(url: URL) -> str:
    """Return *url* for a message: without the query, which may be a signature, and of bounded length."""
    return shown(str(url.with_query(None).with_fragment(None)))


def _cause(error: BaseException) -> BaseException:
    return getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error


def _kind(error: BaseException, cause: BaseException) -> type[RegistryError]:
    if isinstance(cause, ssl.SSLError | ssl.CertificateError):
        return RegistryError
    if isinstance(error, ClientConnectorDNSError):
        return Unreachable
    refused = isinstance(cause, OSError) and cause.errno in (errno.ECONNREFUSED, *_NO_ROUTE)
    return Unreachable if refused else BrokenTransfer


def _reason(url: URL, error: BaseException, cause: BaseException) -> str:
    where = f"{url.host}:{url.port}"
    if isinstance(error, ClientConnectorDNSError):
        return f"dial tcp: lookup {url.host}: no such host"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate(url, cause)
    if isinstance(cause, ssl.SSLError):
        if any(word in str(cause).upper().replace(" ", "_") for word in _NO_TLS):
            return f"http: server gave HTTP response to HTTPS client; {_REMEDY.format(host=where)}"
        return f"remote error: tls: {shown(str(cause.reason or cause))}"
    if isinstance(error, TimeoutError | ServerTimeoutError):
        return "net/http: request canceled (Client.Timeout exceeded while awaiting headers): the server sends nothing"
    if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
        return f"dial tcp {where}: connect: connection refused"
    if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
        return f"dial tcp {where}: connect: no route to host"
    if isinstance(error, ServerDisconnectedError | ClientOSError | ClientPayloadError):
        return "EOF: the server closed the connection"
    return shown(str(error)) or type(error).__name__


def _certificate(url: URL, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == 62:  # X509_V_ERR_HOSTNAME_MISMATCH
        return f"tls: failed to verify certificate: x509: certificate is not valid for {url.host}"
    if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
    return (
        "tls: failed to verify certificate: x509: certificate signed by unknown authority; put the authority's"
        f" certificate into /etc/netd/certs.d/{url.host}:{url.port}/ca.crt"
    )
