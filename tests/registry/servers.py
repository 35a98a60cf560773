"""Registries for tests: Debian's docker-registry, a token server beside it, and certificates for both."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".cache/docker-registry/usr/bin/docker-registry"
USER, PASSWORD = "user", "secret"
HTPASSWD = "user:$2b$04$AzTCSoJIeaf3k6EB9kW5jOjTE7OkJ2Zoh.cqn2savLa5cQWI0bTEW\n"
"""bcrypt of the password above, at the lowest cost."""


@dataclass
class Certificates:
    """An authority, a server's certificate for localhost, and a client's certificate."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority",
                      "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip
        self._issue("server", "subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1")
        self._issue("client", "subjectAltName=DNS:client")

    def path(self, name: str) -> Path:
        return self.folder / name

    def _issue(self, name: str, extension: str) -> None:
        (self.folder / f"{name}.ext").write_text(f"{extension}\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)


@contextlib.contextmanager
def registry(
    folder: Path,
    port: int,
    *,
    within: Sequence[str] = (),
    password: bool = False,
    tls: Certificates | None = None,
    client_certificates: bool = False,
    token: tuple[str, Certificates] | None = None,
    address: str = "127.0.0.1",
) -> Iterator[str]:
    """Run docker-registry with its data in *folder*; yield ``HOST:PORT``.

    *within* is a command prefix that enters a network namespace; *token* is the URL of a token server.
    """
    assert PROGRAM.exists(), "the tests need docker-registry: run tools/setup dev"
    folder.mkdir(parents=True, exist_ok=True)
    config: dict = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"{address}:{port}"},
    }
    if password:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    if token:
        realm, signer = token
        config["auth"] = {
            "token": {
                "realm": realm, "service": "registry.test", "issuer": "tests",
                "rootcertbundle": str(signer.path("ca.crt")),
            }
        }  # fmt: skip
    if tls:
        config["http"]["tls"] = {
            "certificate": str(tls.path("server.crt")),
            "key": str(tls.path("server.key")),
            **({"clientcas": [str(tls.path("ca.crt"))]} if client_certificates else {}),
        }
    path = folder / f"config-{port}.yml"
    path.write_text(json.dumps(config))  # JSON is YAML.
    with _running([*within, str(PROGRAM), "serve", str(path)], folder / f"log-{port}", within, address, port):
        yield f"{'localhost' if tls else address}:{port}"


@contextlib.contextmanager
def token_server(folder: Path, port: int, signer: Certificates, within: Sequence[str] = ()) -> Iterator[str]:
    """Run the token server of this folder; yield the URL of its realm."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*within, sys.executable, "-m", "tests.registry.token_server", str(port), str(signer.folder), str(folder)]
    with _running(words, folder / "token-log", within, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}/token"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def _running(words: Sequence[str], log: Path, within: Sequence[str], address: str, port: int) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not _listens(within, address, port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(within: Sequence[str], address: str, port: int) -> bool:
    if within:
        probe = [*within, "bash", "-c", f": </dev/tcp/{address}/{port}"]
        return subprocess.run(probe, capture_output=True).returncode == 0
    with contextlib.suppress(OSError), socket.create_connection((address, port), 0.2):
        return True
    return False
