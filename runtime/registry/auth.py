"""Authentication at one registry, for one operation: Basic, and bearer tokens of a token server.

Sources: the distribution project's token specification (GET with Basic) and its OAuth2 variant (POST).  A token server
must be reached by TLS, unless the registry itself may be reached by plain HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from runtime.registry import challenges
from runtime.registry.auth_config import Credentials
from runtime.registry.challenges import Challenge
from runtime.registry.connect_errors import plain
from runtime.registry.errors import RegistryError, of_response
from runtime.registry.transport import Request, Site, Transport, basic, joined

_CLIENT = "docker"
"""The client id of Docker, which token servers know."""
_LARGEST_TOKEN_RESPONSE = 1 << 18
_LONGEST_TOKEN = 1 << 16
_SHORTEST_LIFE, _MARGIN = 60, 10


class _Token(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None


@dataclass(slots=True)
class _Held:
    header: str
    until: float


@dataclass(slots=True)
class Authenticator:
    """Answers the challenges of one registry.  ``identity_token`` is the refresh token that a login got, if any."""

    transport: Transport
    site: Site
    credentials: Credentials
    is_login: bool = False
    identity_token: str = ""
    _basic: bool = False
    _bearer: Challenge | None = None
    _tokens: dict[frozenset[str], _Held] = field(default_factory=dict)

    async def header(self, scopes: Sequence[str]) -> str:
        """Return the value of ``Authorization`` for a request, as far as the registry's challenge is known."""
        if self._basic:
            return self._basic_header()
        if self._bearer is None:
            return ""
        held = self._tokens.get(frozenset(scopes))
        if held is None or held.until < time.monotonic():
            held = self._tokens[frozenset(scopes)] = await self._fetch(self._bearer, scopes)
        return held.header

    def note(self, response: aiohttp.ClientResponse) -> None:
        """Remember which authentication the registry asks for."""
        self.answers(response, ())

    def answers(self, response: aiohttp.ClientResponse, scopes: Sequence[str]) -> bool:
        """Return whether a response 401 may be followed by a request with credentials.

        Raises RegistryError, with Docker's text, if only Basic authentication is offered and there are no credentials.
        """
        found = challenges.parse(response.headers.getall("WWW-Authenticate", []))
        self._tokens.pop(frozenset(scopes), None)
        bearer = next((challenge for challenge in found if challenge.scheme == "bearer"), None)
        if bearer is not None and bearer.params.get("realm"):
            self._bearer = bearer
            return True
        self._basic = any(challenge.scheme == "basic" for challenge in found)
        return self._basic

    def _basic_header(self) -> str:
        if not self.credentials.has_basic:
            raise RegistryError("no basic auth credentials", code="NO_CREDENTIALS")
        return _basic(self.credentials)

    async def _fetch(self, challenge: Challenge, scopes: Sequence[str]) -> _Held:
        if self.credentials.registrytoken:
            return _Held(f"Bearer {self.credentials.registrytoken}", time.monotonic() + 3600)
        realm = joined(self.site.base, challenge.params["realm"])
        if realm.scheme == "http" and not (self.site.insecure or self.transport.policy.is_named(realm)):
            raise RegistryError(
                f"the registry {self.site.base.host} refers to the token server {plain(realm)} by plain HTTP, to which"
                " no credentials are sent: let the registry name a realm with https"
            )
        refresh = self.identity_token or self.credentials.identitytoken
        service = challenge.params.get("service", "")
        request = _oauth2(realm, service, scopes, refresh) if refresh else self._get(realm, service, scopes)
        found = await self._exchange(request)
        if found.refresh_token and self.is_login:
            self.identity_token = found.refresh_token
        token = found.token or found.access_token or ""
        if not token or len(token) > _LONGEST_TOKEN or not (token.isascii() and token.isprintable()):
            raise RegistryError("authorization server did not include a token in the response")
        life = max(found.expires_in or 0, _SHORTEST_LIFE) - _MARGIN
        return _Held(f"Bearer {token}", time.monotonic() + life)

    def _get(self, realm: URL, service: str, scopes: Sequence[str]) -> Request:
        pairs = [("service", service)] if service else []
        pairs += [("scope", scope) for scope in scopes]
        if self.is_login:
            pairs += [("offline_token", "true"), ("client_id", _CLIENT)]
        if self.credentials.has_basic:
            pairs.append(("account", self.credentials.username))
        query = "&".join(filter(None, (realm.raw_query_string, urlencode(pairs))))
        url = URL(f"{realm.with_query(None).with_fragment(None)}?{query}", encoded=True)
        return Request("GET", url, authorization=_basic(self.credentials) if self.credentials.has_basic else "")

    async def _exchange(self, request: Request) -> _Token:
        async with self.transport.send(self.site, request) as response:
            data = await self.transport.read(response, _LARGEST_TOKEN_RESPONSE)
            if response.status >= 400:
                found = challenges.parse(response.headers.getall("WWW-Authenticate", []))
                raise of_response(response.status, found, data)
        try:
            return msgspec.json.decode(data, type=_Token)
        except (msgspec.DecodeError, RecursionError):
            raise RegistryError(
                f"unable to decode token response: {plain(request.url)} answered with something else than JSON"
            ) from None


def _oauth2(realm: URL, service: str, scopes: Sequence[str], refresh_token: str) -> Request:
    form = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": _CLIENT,
        "scope": " ".join(scopes),
        "refresh_token": refresh_token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    # A redirect would repeat the refresh token to another server.
    return Request("POST", realm, headers, urlencode(form).encode(), follow=False)


def _basic(credentials: Credentials) -> str:
    return basic(credentials.username, credentials.password)
