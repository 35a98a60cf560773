"""The protocol against Debian's docker-registry: plain, with a password, with TLS, and behind a token server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from runtime import manifests
from runtime.registry import upload
from runtime.registry.auth_config import ANONYMOUS, Credentials
from runtime.registry.download import Blob, Progress, download
from runtime.registry.errors import RegistryError
from runtime.registry.registry_client import RegistryClient
from runtime.registry.tls import TrustStore
from runtime.registry.transport import Transport
from tests.registry.lying import FAST, policy_of
from tests.registry.servers import PASSWORD, USER, Certificates, free_port, registry, token_server
from tests.registry.token_server import REFRESH

ME, OTHER = Credentials(USER, PASSWORD), Credentials(USER, "wrong")
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def with_client(scenario, folders=()):
    async def run():
        client = RegistryClient(Transport(policy_of(), TrustStore([Path(folder) for folder in folders]), FAST))
        try:
            return await scenario(client)
        finally:
            await client.close()

    return asyncio.run(run())


def everything(host, credentials, tmp_path, folders=()) -> str:
    """Push, read, mount, search and log in; return the scheme that was used."""

    async def scenario(client):
        repository = await client.repository(host, "team/app", credentials, push=True)
        blob = await upload.stream_blob(repository, _pieces, Progress())
        assert (blob.size, await upload.has_blob(repository, blob.digest)) == (2_000_000, 2_000_000)
        assert await upload.has_blob(repository, f"sha256:{'0' * 64}") is None
        await upload.put_blob(repository, CONFIG, CONFIG_DIGEST)
        await upload.put_manifest(repository, "1", manifests.DOCKER_MANIFEST, _manifest(blob))
        document = await repository.manifest("1")
        assert (document.data, await repository.head("1")) == (_manifest(blob), document.digest)
        assert await repository.small_blob(CONFIG_DIGEST, len(CONFIG)) == CONFIG
        assert await repository.tags() == ["1"]
        target = tmp_path / "blob"
        target.write_bytes(b"".join([piece async for piece in _pieces()])[:1_234_567])
        await download(repository, blob, target, Progress())
        other = await client.repository(host, "team/other", credentials, push=True)
        assert await upload.mount(other, blob.digest, "team/app")
        assert await upload.has_blob(other, blob.digest) == blob.size
        assert not await upload.mount(other, f"sha256:{'1' * 64}", "team/app")
        assert [found.name for found in await client.search(host, "APP", 10, credentials)] == ["team/app"]
        return repository.site.base.scheme

    return with_client(scenario, folders)


def refused(host, credentials, repository="team/nosuch") -> RegistryError:
    async def scenario(client):
        with pytest.raises(RegistryError) as raised:
            await (await client.repository(host, repository, credentials)).manifest("1")
        return raised.value

    return with_client(scenario)


async def _pieces():
    for number in range(20):
        yield bytes([number]) * 100_000


def _manifest(blob: Blob) -> bytes:
    return json.dumps({
        "schemaVersion": 2, "mediaType": manifests.DOCKER_MANIFEST,
        "config": {"mediaType": manifests.DOCKER_CONFIG, "digest": CONFIG_DIGEST, "size": len(CONFIG)},
        "layers": [{"mediaType": manifests.DOCKER_LAYER, "digest": blob.digest, "size": blob.size}],
    }).encode()  # fmt: skip


def test_a_plain_registry_on_loopback(tmp_path):
    with registry(tmp_path / "data", free_port()) as host:
        assert everything(host, ANONYMOUS, tmp_path) == "http"
        error = refused(host, ANONYMOUS)
        assert (error.message, error.status) == ("manifest unknown: manifest unknown", 404)


def test_a_registry_with_a_password(tmp_path):
    with registry(tmp_path / "data", free_port(), password=True) as host:
        assert everything(host, ME, tmp_path) == "http"
        assert refused(host, OTHER).message == "unauthorized: authentication required"
        assert refused(host, ANONYMOUS).message.endswith('manifests/1": no basic auth credentials')
        assert with_client(lambda client: client.login(host, ME)) == ""
        with pytest.raises(RegistryError, match=r"^login attempt to http://.* failed with status: 401 Unauthorized$"):
            with_client(lambda client: client.login(host, OTHER))


def test_a_registry_with_tls_on_loopback_needs_no_authority(tmp_path, certificates):
    with registry(tmp_path / "data", free_port(), tls=certificates) as host:
        assert everything(host, ANONYMOUS, tmp_path) == "https"


def test_an_authority_in_certs_d_makes_verified_tls_necessary(tmp_path, certificates):
    strangers = Certificates(tmp_path / "strangers")
    with registry(tmp_path / "data", free_port(), tls=certificates, client_certificates=True) as host:
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        for name, path in {"ca.crt": "ca.crt", "client.cert": "client.crt", "client.key": "client.key"}.items():
            shutil.copy(certificates.path(path), folder / name)
        assert everything(host, ANONYMOUS, tmp_path, [tmp_path / "nosuch", tmp_path / "certs.d"]) == "https"
        shutil.copy(strangers.path("ca.crt"), folder / "ca.crt")
        with pytest.raises(RegistryError, match="x509: certificate signed by unknown authority"):
            everything(host, ANONYMOUS, tmp_path, [tmp_path / "certs.d"])
        (folder / "client.key").unlink()
        with pytest.raises(RegistryError, match=r"missing key client\.key for client certificate client\.cert"):
            everything(host, ANONYMOUS, tmp_path, [tmp_path / "certs.d"])
    with registry(tmp_path / "data", int(host.partition(":")[2])) as plain:
        with pytest.raises(RegistryError, match="server gave HTTP response to HTTPS client"):
            everything(f"localhost:{plain.partition(':')[2]}", ANONYMOUS, tmp_path, [_only_authority(folder)])


def _only_authority(folder: Path) -> Path:
    (folder / "client.cert").unlink()
    return folder.parent


def test_a_token_server_beside_the_registry(tmp_path, certificates):
    with (
        token_server(tmp_path / "tokens", free_port(), certificates) as realm,
        registry(tmp_path / "data", free_port(), token=(realm, certificates)) as host,
    ):
        assert everything(host, ME, tmp_path) == "http"
        error = refused(host, ANONYMOUS)
        assert (error.code, error.message) == ("DENIED", "denied: requested access to the resource is denied")
        error = refused(host, OTHER)
        assert error.status == 401
        assert error.message.endswith('/v2/team/nosuch/manifests/1": unauthorized: incorrect username or password')
        identity = with_client(lambda client: client.login(host, ME))
        assert identity == REFRESH
        by_token = Credentials(identitytoken=identity)
        assert refused(host, by_token).code == "MANIFEST_UNKNOWN"
        assert "the refresh token is invalid" in refused(host, Credentials(identitytoken="x")).message
        with pytest.raises(RegistryError, match=r'^Get "http.*/v2/": unauthorized: incorrect username or password$'):
            with_client(lambda client: client.login(host, OTHER))
        asked = (tmp_path / "tokens/requests").read_text().splitlines()
        assert "GET repository:team/other:pull,push repository:team/app:pull" in asked
        assert "POST repository:team/nosuch:pull" in asked
        assert len([line for line in asked if line == "GET repository:team/app:pull,push"]) == 1, "tokens are kept"
