"""Requests with confused types, to every route of both daemons: refused in words, and the daemon goes on.

``NETD_FUZZ_SECONDS`` says for how long each daemon is attacked; ``NETD_FUZZ_SEED`` chooses other requests.
"""

import contextlib
import gzip
import os
import random
import re
import socket
import time

import pytest

from tests.attacks.fuzzing import Maker, routes
from tests.engine.conftest import Raw
from tests.installation import running_installation

SECONDS = float(os.environ.get("NETD_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("NETD_FUZZ_SEED", "1"))
FAILED = (
    "request failed:",
    "background task failed",
    "Unhandled exception",
    "Error handling request",
    "never retrieved",
    "was destroyed but",
)
CREATED = re.compile(rb'"Id":"([0-9a-f]{64})"')


@pytest.fixture(scope="module")
def place():
    """A separate installation, because some requests remove the image that other tests share."""
    with running_installation() as installation:
        yield installation


def ask(path, request: bytes) -> bytes:
    """Send one request and return the beginning of the response; empty after the timeout."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(0.5)
        sock.connect(str(path))
        with contextlib.suppress(OSError):
            sock.sendall(request)
        with contextlib.suppress(OSError):
            return sock.recv(65536)
    return b""


@pytest.mark.parametrize("name", ["netd.sock", "docker.sock"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_body_is_no_json(place, name, encoding):
    bomb = gzip.compress(b"x" * (64 << 20)) if encoding == "gzip" else b"\x00\xff" * 9
    status, _, said = Raw(place.run / name).ask("POST", "/networks/create", bomb, {"Content-Encoding": encoding})
    assert status == 400 and "invalid JSON" in said["message"]


def test_a_body_whose_parts_have_no_sizes_is_refused(place):
    head = b"POST /networks/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 400 " in ask(place.run / "docker.sock", head + b"zz\r\n{}").split(b"\r\n")[0]


def test_the_name_of_a_driver_is_not_too_long_for_a_file(raw):
    body = {"Name": "n", "IPAM": {"Driver": "x" * 5000}}
    status, _, said = raw.ask("POST", "/networks/create", body)
    assert status == 404 and "not found" in said["message"]


@pytest.mark.parametrize(("name", "package"), [("netd", "netd.server"), ("runtime", "runtime.api")])
@pytest.mark.timeout(SECONDS + 120)
def test_no_request_makes_a_daemon_fail(place, api, run, make, name, package):
    path = place.run / {"netd": "netd.sock", "runtime": "docker.sock"}[name]
    table = routes(package)
    assert len(table) > 15
    running = run("sleep", "1000", name="fuzzed")
    names = [running, "fuzzed", make(name="stopped"), api.exec_create(running, ["true"])["Id"], "bridge", "busybox"]
    maker, choice = Maker(SEED, names), random.Random(SEED)
    log, before = place.root / f"{name}.log", (place.root / f"{name}.log").stat().st_size
    deadline, sent = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        method, pattern = table[sent % len(table)] if sent < len(table) else choice.choice(table)
        request = maker.request(method, pattern)
        said = ask(path, request)
        sent += 1
        if len(names) < 40 and (made := CREATED.search(said)):
            names.append(made[1].decode())
        status = said.split(b" ", 2)[1] if said.startswith(b"HTTP/1.1 ") else b""
        assert b"the daemon's log has the cause" not in said, f"{request[:2000]!r}\n{log.read_text()[-6000:]}"
        assert not status.startswith(b"5") or status in (b"500", b"501", b"503"), request[:2000]
    assert sent > len(table)
    assert place.processes[name].poll() is None
    assert Raw(path).ask("GET", "/_ping")[2] == b"OK"
    with log.open() as file:
        file.seek(before)
        text = file.read()
    assert not any(words in text for words in FAILED), text[-8000:]
    for network in api.networks():
        if network["Name"] not in ("bridge", "host", "none"):
            with contextlib.suppress(Exception):
                api.remove_network(network["Id"])
