"""HTTP to registries and token servers: connections, timeouts, redirects, and retries of overloaded servers.

Credentials never leave the origin (scheme, host, port) that they were given for.  Plain HTTP and TLS without
verification go through a connector that resolves by :mod:`runtime.registry.resolver`; the rest is verified TLS.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from netd.common.digits import unsigned
from netd.version import VERSION
from runtime.registry import connect_errors
from runtime.registry.access_policy import AccessPolicy, address_of, bracketed, is_same_origin
from runtime.registry.connect_errors import NETWORK_ERRORS, plain
from runtime.registry.errors import BrokenTransfer, RegistryError, WrongContent
from runtime.registry.resolver import GuardedResolver, may_be_insecure
from runtime.registry.tls import Trust, TrustStore, unverified

_MOST_REDIRECTS = 10
_LONGEST_URL = 16384
_REDIRECTS = (301, 302, 303)
_SAFE = ("GET", "HEAD")
OVERLOADED = (429, 500, 502, 503, 504)
_log = logging.getLogger(__name__)

Body = bytes | Callable[[], AsyncIterator[bytes]] | None
"""The bytes to send, or a function that yields them again for each attempt."""


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Times in seconds; the tests shorten them."""

    connect: float = 30.0
    stall: float = 60.0
    """How long a transfer may make no progress."""
    least_rate: int = 1024
    """Bytes per second below which a transfer makes no progress."""
    whole: float = 120.0
    """Limit for a document: manifests, tokens, lists."""
    attempts: int = 5
    first_pause: float = 1.0
    longest_pause: float = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """A server of a registry: ``base`` has scheme, host and port."""

    base: URL
    trust: Trust
    insecure: bool
    """Plain HTTP, and TLS without verification, are permitted for this registry."""
    mirror: bool = False


@dataclass(slots=True)
class Request:
    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = None
    authorization: str = ""
    follow: bool = True
    retry: bool = True
    is_transfer: bool = False
    """The body may take any time, as long as there is progress; the caller watches for that."""


class Transport:
    """The connections of one daemon.  ``close`` ends them."""

    def __init__(
        self,
        policy: AccessPolicy,
        trust: TrustStore,
        limits: TransferLimits = TransferLimits(),
        resolver: Callable[[], AbstractResolver] = ThreadedResolver,
    ) -> None:
        self.policy = policy
        self.limits = limits
        self._trust = trust
        self._resolver = resolver
        self._verified: aiohttp.ClientSession | None = None
        self._guarded: aiohttp.ClientSession | None = None
        self._unverified: ssl.SSLContext | None = None

    async def close(self) -> None:
        for session in (self._verified, self._guarded):
            if session is not None:
                await session.close()

    async def sites(self, host: str, *, mirror: URL | None = None) -> list[Site]:
        """Return the servers to try for the registry *host*, in order."""
        trust = await asyncio.to_thread(self._trust.load, bracketed(mirror) if mirror else host)
        if mirror is not None:
            return [Site(mirror, trust, mirror.scheme == "http", mirror=True)]
        try:
            secure, plain = URL(f"https://{host}"), URL(f"http://{host}")
        except ValueError:
            raise RegistryError(f"{host!r} is no host of a registry", status=400) from None
        if trust.is_pinned or not await self._may_be_insecure(secure, plain):
            return [Site(secure, trust, insecure=False)]
        return [Site(secure, trust, insecure=True), Site(plain, trust, insecure=True)]

    async def _may_be_insecure(self, secure: URL, plain: URL) -> bool:
        """Names that a proxy resolves are not looked up here, where there may be no name server."""
        if proxy_for(secure)[0] is not None and not self.policy.is_named(plain):
            return False
        return await may_be_insecure(self.policy, plain, self._resolver())

    @asynccontextmanager
    async def send(self, site: Site, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response, after redirects, and after retries if the server is overloaded.

        Raises RegistryError for networks, certificates and redirects that do not work.
        """
        response = await self._with_retries(site, request)
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """Return the body.  Raises WrongContent above *most* bytes, RegistryError if it takes too long."""
        if (response.content_length or 0) > most:
            raise _too_large(response, most)
        data = bytearray()
        try:
            async with asyncio.timeout(self.limits.whole):
                async for chunk in response.content.iter_chunked(1 << 16):
                    data += chunk
                    if len(data) > most:
                        raise _too_large(response, most)
        except NETWORK_ERRORS as error:
            raise connect_errors.translated(response.method, response.url, error) from None
        return bytes(data)

    async def _with_retries(self, site: Site, request: Request) -> aiohttp.ClientResponse:
        limits = self.limits
        pause = limits.first_pause
        for left in range(limits.attempts - 1 if request.retry else 0, 0, -1):
            wait: int | None = None
            try:
                response = await self._follow(site, request)
                wait = unsigned(response.headers.get("Retry-After", ""), 86400)
                if response.status not in OVERLOADED or (wait or 0) > limits.longest_pause:
                    return response
                response.close()
            except BrokenTransfer as error:
                _log.info("request to registry repeated: url=%s left=%d error=%s", plain(request.url), left, error)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25) if wait is None else wait)
            pause = min(2 * pause, limits.longest_pause)
        return await self._follow(site, request)

    async def _follow(self, site: Site, request: Request) -> aiohttp.ClientResponse:
        url, authorization = request.url, request.authorization
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._exchange(site, request, url, authorization)
            if not (request.follow and _is_redirect(request.method, response)):
                return response
            response.close()
            target = joined(url, response.headers["Location"])
            if not is_same_origin(url, target):
                authorization = ""
            url = target
        raise RegistryError(f'{_verb(request.method)} "{request.url}": stopped after {_MOST_REDIRECTS} redirects')

    async def _exchange(self, site: Site, request: Request, url: URL, authorization: str) -> aiohttp.ClientResponse:
        session, context = await self._connection(site, url)
        headers = {"User-Agent": f"netd/{VERSION}", "Accept-Encoding": "identity", **request.headers}
        if authorization:
            headers["Authorization"] = authorization
        limits = self.limits
        proxy, proxy_headers = proxy_for(url) if session is self._verified else (None, {})
        timeout = aiohttp.ClientTimeout(
            sock_connect=limits.connect, sock_read=limits.stall, total=None if request.is_transfer else limits.whole
        )
        try:
            return await session.request(
                request.method,
                url,
                data=request.body() if callable(request.body) else request.body,
                headers=headers,
                allow_redirects=False,
                ssl=context,
                proxy=proxy,
                proxy_headers=proxy_headers,
                timeout=timeout,
            )
        except NETWORK_ERRORS as error:
            raise connect_errors.translated(request.method, url, error) from None

    async def _connection(self, site: Site, url: URL) -> tuple[aiohttp.ClientSession, ssl.SSLContext]:
        """Return session and TLS settings for *url*.  Raises RegistryError for plain HTTP that is not permitted."""
        if self._verified is None or self._guarded is None or self._unverified is None:
            self._open()
        assert self._verified is not None and self._guarded is not None and self._unverified is not None
        own = is_same_origin(site.base, url)
        if own and site.mirror:
            return self._verified, site.trust.context
        if url.scheme == "http":
            self._check_plain(site, url)
            return self._guarded, self._unverified
        if site.insecure and (own or await may_be_insecure(self.policy, url, self._resolver())):
            return self._guarded, self._unverified
        return self._verified, await self._context(site, url)

    async def _context(self, site: Site, url: URL) -> ssl.SSLContext:
        if is_same_origin(site.base, url):
            return site.trust.context
        other = await asyncio.to_thread(self._trust.load, f"{bracketed(url)}:{url.port}")
        return other.context if other.is_pinned else site.trust.without_client

    def _check_plain(self, site: Site, url: URL) -> None:
        """Raise RegistryError for plain HTTP that is not permitted; addresses of names are checked by the resolver.

        A registry with verified TLS cannot refer to plain HTTP on this host, where other programs' services listen.
        """
        if self.policy.is_named(url):
            return
        literal = address_of(url.host or "")
        if not site.insecure or (literal is not None and not self.policy.permits([str(literal)])):
            raise connect_errors.not_permitted(url)

    def _open(self) -> None:
        self._unverified = unverified()
        self._verified = self._session(self._resolver())
        self._guarded = self._session(GuardedResolver(self.policy, self._resolver()))

    def _session(self, resolver: AbstractResolver) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=64, limit_per_host=16)
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            requote_redirect_url=False,
            read_bufsize=1 << 19,
        )


def _is_redirect(method: str, response: aiohttp.ClientResponse) -> bool:
    """301 to 303 would turn other methods into GET (RFC 9110, section 15.4)."""
    status = response.status
    return "Location" in response.headers and (status in (307, 308) or (status in _REDIRECTS and method in _SAFE))


def joined(base: URL, location: str) -> URL:
    """Resolve a ``Location``, whose escapes are kept: signed URLs are valid only unchanged.  Raises RegistryError."""
    try:
        if len(location) > _LONGEST_URL:
            raise ValueError("it is too long")
        target = base.join(URL(location, encoded=True))
        if target.scheme not in ("http", "https") or not target.host:
            raise ValueError("it is no URL with http or https")
        if target.user is not None or target.password is not None:
            target = target.with_user(None)
    except ValueError as error:
        raise RegistryError(f"the redirect of {base.host} cannot be followed: {error}") from None
    return target


def proxy_for(url: URL) -> tuple[URL | None, dict[str, str]]:
    """Return the proxy by HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and headers with its credentials; none for loopback."""
    found = urllib.request.getproxies_environment().get(url.scheme)
    literal = address_of(url.host or "")
    is_loopback = url.host == "localhost" or (literal is not None and literal.is_loopback)
    if not found or is_loopback or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None, {}
    proxy = URL(found if "://" in found else f"http://{found}")
    headers = {"Proxy-Authorization": basic(proxy.user, proxy.password or "")} if proxy.user else {}
    return proxy.with_user(None), headers


def basic(username: str, password: str) -> str:
    """Return the value of a header with Basic credentials (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _too_large(response: aiohttp.ClientResponse, most: int) -> WrongContent:
    return WrongContent(f'{_verb(response.method)} "{response.url}": the response is larger than {most} bytes')


def _verb(method: str) -> str:
    return method.capitalize()
