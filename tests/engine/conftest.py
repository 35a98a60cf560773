"""One installation for all tests of this folder; each test removes its containers."""

import http.client
import json
import socket

import pytest

from tests.installation import IMAGE, running_installation


class Raw(http.client.HTTPConnection):
    """Plain HTTP over the daemon's socket, without a Docker client library."""

    def __init__(self, path) -> None:
        super().__init__("docker", timeout=30)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None, headers=None):
        """Return (status, headers, body); JSON is decoded."""
        words = {"Content-Type": "application/json", **(headers or {})} if body is not None else headers or {}
        data = json.dumps(body) if isinstance(body, dict | list) else body
        self.request(method, path, data, words)
        response = self.getresponse()
        text = response.read()
        is_json = response.headers.get_content_type() == "application/json" and text
        return response.status, response.headers, json.loads(text) if is_json else text

    def upgrade(self, path, body=b""):
        """POST with an upgrade and return (status line, headers, the raw socket)."""
        self.connect()
        head = f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        self.sock.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.sock.recv(1)
        first, *lines = data.decode().strip().split("\r\n")
        return first, dict(line.split(": ", 1) for line in lines), self.sock


@pytest.fixture(scope="session")
def place():
    with running_installation() as installation:
        yield installation


@pytest.fixture
def api(place):
    """The SDK's low-level client; containers are removed after the test."""
    client = place.docker.api
    yield client
    for container in client.containers(all=True):
        client.remove_container(container["Id"], force=True, v=True)
    for volume in client.volumes()["Volumes"]:
        client.remove_volume(volume["Name"])
    client.close()


@pytest.fixture
def raw(place, api):
    connection = Raw(place.run / "docker.sock")
    yield connection
    connection.close()


@pytest.fixture
def make(api):
    """Create (not start) a container of the busybox image and return its id."""

    def create(*command, **fields):
        host = fields.pop("host", {})
        body = {"Image": IMAGE, "Cmd": list(command) or ["sleep", "1000"], **fields}
        body["HostConfig"] = {"NetworkMode": "none", **host}
        name = body.pop("name", None)
        return api.create_container_from_config(body, name)["Id"]

    return create


@pytest.fixture
def run(api, make):
    """Create and start a container and return its id."""

    def start(*command, **fields):
        made = make(*command, **fields)
        api.start(made)
        return made

    return start


@pytest.fixture
def output(api, run):
    """Run a program until it exits and return (exit code, stdout and stderr)."""

    def finish(*command, **fields):
        made = run(*command, **fields)
        code = api.wait(made, timeout=30)["StatusCode"]
        return code, api.logs(made).decode()

    return finish
