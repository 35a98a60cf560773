"""Plain HTTP and unverified TLS are for loopback addresses and for registries named in the configuration only."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from yarl import URL

from netd.common.errors import BadRequest
from runtime.registry.auth_config import Credentials
from runtime.registry.errors import RegistryError
from runtime.registry.transport import Site, joined, proxy_for
from tests.registry.lying import client, lying, policy_of

USER = Credentials("user", "secret")


class Names(AbstractResolver):
    """Answers each question about any name with the next list of addresses; the last one is repeated."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host, port=0, family=socket.AF_INET):
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET6 if ":" in address else
             socket.AF_INET, "proto": 0, "flags": socket.AI_NUMERICHOST}
            for address in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        return


def opened(names: Names, insecure=(), host="registry.test") -> tuple[str, list]:
    """Open a repository at a plain server that *names* leads to; return the scheme that was used, and the requests."""

    async def run():
        async with lying() as server, client(insecure, resolver=lambda: names) as registry:
            try:
                repository = await registry.repository(f"{host}:{server.port}", "a/b", USER)
            except RegistryError as error:
                return error, server.seen
            return repository.site.base.scheme, server.seen

    return asyncio.run(run())


def test_a_name_whose_addresses_are_all_loopback_may_be_plain():
    assert opened(Names(["127.0.0.1"]))[0] == "http"
    assert opened(Names(["127.0.0.1", "127.8.8.8"]))[0] == "http"


@pytest.mark.parametrize("addresses", [["127.0.0.1", "192.0.2.1"], ["::1", "2001:db8::1"], ["192.0.2.1"]])
def test_a_name_with_another_address_needs_verified_tls(addresses):
    error, seen = opened(Names(addresses))
    assert isinstance(error, RegistryError) and '"https://registry.test' in error.message
    assert seen == []


def test_a_second_answer_of_the_name_server_does_not_get_past_the_check():
    error, seen = opened(Names(["127.0.0.1"], ["127.0.0.1", "192.0.2.1"]))
    assert isinstance(error, RegistryError) and "plain HTTP is permitted for loopback addresses only" in error.message
    assert seen == []


def test_a_registry_named_in_the_configuration_may_be_plain():
    names = Names(["127.0.0.1", "192.0.2.1"])  # The second address does not answer.
    assert opened(names, ["registry.test"])[0] == "http"
    assert isinstance(opened(names, ["registry.test:1"])[0], RegistryError)
    assert isinstance(opened(names, ["other.test"])[0], RegistryError)


def test_a_network_of_the_configuration_must_hold_all_addresses():
    assert opened(Names(["127.0.0.1"]), ["10.0.0.0/8"])[0] == "http"
    policy = policy_of(["10.0.0.0/8"])
    assert policy.permits(["10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1"])
    assert not policy.permits(["10.1.2.3", "11.1.2.3"])
    assert not policy.permits([])
    assert not policy.permits(["169.254.169.254"])


@pytest.mark.parametrize("text", ["http://x:5000", "x/y", "x:port", "", "10.0.0.0/33", "u@x"])
def test_what_is_no_registry_is_refused_in_the_configuration(text):
    with pytest.raises(BadRequest, match="insecure_registries"):
        policy_of([text])


@pytest.mark.parametrize(
    "text", ["mirror.test", "ftp://x", "https://u:p@x", "https://x/path", "https://x?q=1", "https://"]
)
def test_what_is_no_mirror_is_refused_in_the_configuration(text):
    with pytest.raises(BadRequest, match="invalid mirror"):
        policy_of((), [text])


def test_a_registry_with_verified_tls_cannot_refer_to_plain_services_of_this_host():
    async def run():
        async with lying() as server, client() as registry:
            transport = registry._transport
            secure = (await transport.sites("registry.example"))[0]
            assert not secure.insecure
            with pytest.raises(RegistryError, match="plain HTTP"):
                await transport._connection(secure, URL(f"http://{server.host}/"))
            return server.seen

    assert asyncio.run(run()) == []


@pytest.mark.parametrize("realm", ["http://192.0.2.1/token", "http://metadata.test/token"])
def test_credentials_are_not_sent_to_a_plain_token_server_elsewhere(realm):
    async def run():
        async def challenge(request):
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})

        async with lying() as server, client() as registry:
            server.answers["/v2/"] = challenge
            await registry.login(server.host, USER)

    with pytest.raises(RegistryError, match=r"plain HTTP|no such host"):
        asyncio.run(run())


def test_a_registry_with_tls_cannot_name_a_plain_token_server():
    from runtime.registry.auth import Authenticator
    from runtime.registry.challenges import Challenge

    async def run():
        async with lying() as server, client() as registry:
            site: Site = (await registry._transport.sites("registry.example"))[0]
            auth = Authenticator(registry._transport, site, USER)
            auth._bearer = Challenge("bearer", {"realm": f"http://{server.host}/token"})
            with pytest.raises(RegistryError, match="no credentials are sent"):
                await auth.header(["repository:a/b:pull"])
            return server.seen

    assert asyncio.run(run()) == []


def test_a_mirror_is_asked_first_and_without_credentials():
    async def run():
        async def protected(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

        async with lying() as mirror, client((), [f"http://{mirror.host}"]) as registry:
            mirror.answers["/v2/"] = protected
            found = [repository async for repository in _first(registry.repositories("docker.io", "library/x", USER))]
            with pytest.raises(RegistryError, match="no basic auth credentials"):
                await found[0].manifest("latest")
            return found[0].site.mirror, mirror.seen

    is_mirror, seen = asyncio.run(run())
    assert is_mirror and all("Authorization" not in headers for _, _, headers in seen)


async def _first(repositories):
    async for repository in repositories:
        yield repository
        return


def test_escapes_of_a_signed_url_are_kept():
    target = joined(URL("https://x/v2/"), "https://s3.test/a%2Fb?X-Sig=a%2Bb%3D&k=%7E")
    assert str(target) == "https://s3.test/a%2Fb?X-Sig=a%2Bb%3D&k=%7E"


def test_proxies_of_the_environment_are_used_but_not_for_loopback(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "internal.test")
    proxy, credentials = proxy_for(URL("https://registry.test/v2/"))
    assert str(proxy) == "http://proxy.test:3128" and credentials == {"Proxy-Authorization": "Basic bWU6cGFzcw=="}
    for url in ("https://a.internal.test/", "https://localhost:5000/", "https://127.0.0.1/", "https://[::1]:5000/"):
        assert proxy_for(URL(url)) == (None, {})


def test_a_name_that_a_proxy_resolves_is_not_looked_up_here(monkeypatch):
    class Nobody(Names):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            raise AssertionError(f"{host} was looked up")

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    error, seen = opened(Nobody([]))
    assert isinstance(error, RegistryError)
    assert error.message.endswith("proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused")
    assert seen == []
