"""One installation for all tests of builds."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.parse
from dataclasses import dataclass, field

import pytest

from tests.engine.conftest import Raw
from tests.installation import running_installation


@pytest.fixture(scope="session")
def place():
    with running_installation() as installation:
        yield installation


@dataclass
class Result:
    """What a build answered: the status, the messages, and the text of all ``stream`` messages."""

    status: int
    messages: list[dict]
    text: str = ""
    error: str = ""
    image: str = ""
    steps: list[str] = field(default_factory=list)

    @property
    def cached(self) -> list[bool]:
        """Return for each step whether it was cached; FROM never is."""
        return [" ---> Using cache\n" in step for step in self.steps]


def context(files: dict[str, object]) -> bytes:
    """Return a build context: contents by path; a tuple is (content, mode), a path with a slash is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, value in files.items():
            content, mode = value if isinstance(value, tuple) else (value, 0o755 if name.endswith("/") else 0o644)
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = mode
            info.uid = info.gid = 1234
            if isinstance(content, tarfile.TarInfo):
                info.type, info.linkname = content.type, content.linkname
                info.devmajor, info.devminor = content.devmajor, content.devminor
                tar.addfile(info)
            elif name.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                data = content if isinstance(content, bytes) else content.encode()
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def parsed(status: int, data: object) -> Result:
    if isinstance(data, dict):
        return Result(status, [data], error=data.get("message", data.get("error", "")))
    messages = [json.loads(line) for line in data.splitlines() if line]
    text = "".join(message.get("stream", "") for message in messages)
    steps = [f"Step {part}" for part in text.split("Step ")[1:]]
    image = next((message["aux"]["ID"] for message in messages if "aux" in message), "")
    return Result(status, messages, text, next((m["error"] for m in messages if "error" in m), ""), image, steps)


@pytest.fixture
def build(place):
    """Send a build: a Dockerfile, files of the context, and query parameters."""

    def send(
        dockerfile: str, files: dict[str, object] | None = None, *, headers=None, file="Dockerfile", **query
    ) -> Result:
        connection = Raw(place.run / "docker.sock")
        try:
            words = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in query.items()}
            path = "/v1.50/build?" + urllib.parse.urlencode({"version": "1", "dockerfile": file, **words}, doseq=True)
            body = context({"Dockerfile": dockerfile, **(files or {})})
            connection.request("POST", path, body, {"Content-Type": "application/x-tar", **(headers or {})})
            response = connection.getresponse()
            data = response.read()
            is_stream = response.status == 200
            return parsed(response.status, data.decode() if is_stream else json.loads(data))
        finally:
            connection.close()

    return send


@pytest.fixture
def output(place):
    """Run a program in an image and return its output."""

    def run(image: str, *command: str) -> str:
        client = place.docker
        return client.containers.run(image, list(command) or None, network_mode="none", remove=True).decode()

    return run
