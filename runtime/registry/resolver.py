"""Name resolution for connections without verified TLS: only addresses that the policy permits are connected to.

The addresses that were checked are those that the connection uses, so a second, different answer cannot get past the
check.
"""

from __future__ import annotations

import asyncio
from socket import AddressFamily

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from runtime.registry.access_policy import AccessPolicy, address_of

_RESOLVE_SECONDS = 20.0


class NotPermitted(OSError):
    """The name has an address to which only verified TLS is permitted."""


class GuardedResolver(AbstractResolver):
    """Resolves names for plain HTTP and unverified TLS.  Raises NotPermitted for all other registries."""

    def __init__(self, policy: AccessPolicy, inner: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        named = self._policy.is_named(URL.build(scheme="http", host=host, port=port))
        if not named and not self._policy.permits(result["host"] for result in found):
            raise NotPermitted(f"{host} has an address that is not loopback")
        return found

    async def close(self) -> None:
        await self._inner.close()


async def may_be_insecure(policy: AccessPolicy, url: URL, inner: AbstractResolver) -> bool:
    """Return whether the host of *url* is named in the configuration, or all its addresses are permitted."""
    if policy.is_named(url):
        return True
    host = url.host or ""
    if (literal := address_of(host)) is not None:
        return policy.permits([str(literal)])
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await inner.resolve(host, url.port or 0, AddressFamily.AF_UNSPEC)
    except (OSError, TimeoutError):
        return False
    return policy.permits(result["host"] for result in found)
