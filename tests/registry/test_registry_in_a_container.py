"""A registry in a container, published on port 5000: used from its own host and from another one by address."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import subprocess
import tarfile
from pathlib import Path

import docker.errors
import pytest

from netd.kernel.namespaces import netns
from tests.installation import Installation, running_installation, wait_until
from tests.registry.servers import PROGRAM

ADDRESS, OTHER_ADDRESS = "10.91.0.1", "10.91.0.2"
CONFIG = b"""{"version": 0.1, "log": {"level": "warn"}, "http": {"addr": ":5000"},
"storage": {"filesystem": {"rootdirectory": "/data"}}}"""


def registry_image() -> bytes:
    """Return a root file system with docker-registry and the libraries that it needs, as an archive."""
    assert PROGRAM.exists(), "the tests need docker-registry: run tools/setup dev"
    listed = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in listed.split() if word.startswith("/")]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(PROGRAM, "usr/bin/docker-registry")
        for library in libraries:
            tar.add(Path(library).resolve(), library.lstrip("/"))
        info = tarfile.TarInfo("etc/registry.yml")
        info.size = len(CONFIG)
        tar.addfile(info, io.BytesIO(CONFIG))
    return out.getvalue()


@pytest.fixture(scope="module")
def place():
    """A host with the registry in a container, on a wire to another host."""
    with running_installation() as installation:
        changes = ['ENTRYPOINT ["/usr/bin/docker-registry", "serve", "/etc/registry.yml"]']
        client = installation.docker
        client.api.import_image_from_data(registry_image(), repository="registry", tag="2", changes=changes)
        installation.netctl("run", "-d", "--name", "registry", "-p", "5000:5000", "registry:2")
        probe = ["bash", "-c", ": </dev/tcp/127.0.0.1/5000"]
        wait_until(lambda: installation.on_host(*probe).returncode == 0)
        yield installation


@pytest.fixture(scope="module")
def elsewhere(place):
    """A second host with daemons of its own, for which the first one's registry may be plain."""
    other = Installation(config=f'insecure_registries = ["{ADDRESS}:5000"]\n')
    try:
        subprocess.run(
            [
                "ip",
                "-n",
                place.host,
                "link",
                "add",
                "wire",
                "type",
                "veth",
                "peer",
                "name",
                "wire",
                "netns",
                other.host,
            ],
            check=True,
        )
        for host, address in ((place.host, ADDRESS), (other.host, OTHER_ADDRESS)):
            subprocess.run(["ip", "-n", host, "addr", "add", f"{address}/24", "dev", "wire"], check=True)
            subprocess.run(["ip", "-n", host, "link", "set", "wire", "up"], check=True)
        other.start()
        yield other
    finally:
        other.destroy()


def test_tag_push_pull_and_run_by_localhost(place):
    place.netctl("tag", "busybox", "localhost:5000/my-image")
    pushed = place.netctl("push", "localhost:5000/my-image").stdout
    assert "The push refers to repository [localhost:5000/my-image]\n" in pushed and ": Pushed\n" in pushed
    assert ": Layer already exists\n" in place.netctl("push", "localhost:5000/my-image").stdout
    place.netctl("rmi", "-f", "localhost:5000/my-image")
    ran = place.netctl("run", "--rm", "localhost:5000/my-image", "echo", "hello")
    assert ran.stdout == "hello\n"
    assert "Status: Downloaded newer image for localhost:5000/my-image:latest" in ran.stderr
    assert "Image is up to date" in place.netctl("pull", "localhost:5000/my-image").stdout
    assert "localhost:5000/my-image" in place.netctl("search", "localhost:5000/my").stdout


def test_compose_builds_pushes_and_pulls_the_images_of_services(place, tmp_path):
    image = "localhost:5000/composed"
    build = {"context": ".", "dockerfile_inline": "FROM busybox\nLABEL a=b\n"}
    service = {"image": image, "build": build, "command": "sleep 1000", "stop_grace_period": "0s"}
    (tmp_path / "compose.yaml").write_text(json.dumps({"name": "composed", "services": {"web": service}}))
    place.netctl("compose", "build", cwd=tmp_path)
    assert f"Image {image}  Pushed" in place.netctl("compose", "push", cwd=tmp_path).stderr
    place.netctl("rmi", image)
    assert f"Image {image}  Pulled" in place.netctl("compose", "pull", cwd=tmp_path).stderr
    assert "Building" not in place.netctl("compose", "up", "-d", cwd=tmp_path).stderr
    again = place.netctl("compose", "up", "-d", "--pull", "always", cwd=tmp_path).stderr
    assert f"Image {image}  Pulled" in again and "web-1  Running" in again
    place.netctl("compose", "down", "--rmi", "all", cwd=tmp_path)
    (tmp_path / "compose.yaml").write_text("services: {web: {image: 'localhost:5000/absent'}}")
    failed = place.netctl("compose", "up", "-d", cwd=tmp_path, check=False)
    assert failed.returncode == 1 and 'netctl: service "web": ' in failed.stderr


def test_another_host_pulls_by_address_if_the_registry_is_named_in_its_configuration(place, elsewhere):
    place.netctl("tag", "busybox", "localhost:5000/for-others:1")
    place.netctl("push", "localhost:5000/for-others:1")
    name = f"{ADDRESS}:5000/for-others:1"
    client = elsewhere.docker
    image = client.images.pull(f"{ADDRESS}:5000/for-others", tag="1")
    assert image.id == place.docker.images.get("busybox").id and image.tags == [name]
    assert elsewhere.netctl("run", "--rm", name, "echo", "from afar").stdout == "from afar\n"
    image.tag(f"{ADDRESS}:5000/back", "2")
    assert '"aux"' in client.images.push(f"{ADDRESS}:5000/back", tag="2")
    assert place.netctl("pull", "-q", "localhost:5000/back:2").stdout == "localhost:5000/back:2\n"
    refused = place.netctl("pull", f"{ADDRESS}:5000/for-others:1", check=False)
    assert "server gave HTTP response to HTTPS client" in refused.stderr and "insecure_registries" in refused.stderr


def test_events_and_errors_are_those_of_docker(place):
    client = place.docker
    client.images.get("busybox").tag("localhost:5000/events", "1")
    client.images.push("localhost:5000/events", tag="1")
    client.images.pull("localhost:5000/events", tag="1")
    events = client.events(since=0, until=2**31, filters={"event": ["pull", "push"]}, decode=True)
    seen = [(event["Action"], event["Actor"]) for event in _until(events, "pull", "localhost:5000/events:1")]
    actor = {"ID": "localhost:5000/events:1", "Attributes": {"name": "localhost:5000/events"}}
    assert seen[-2:] == [("push", actor), ("pull", actor)]
    with pytest.raises(docker.errors.NotFound) as raised:
        client.images.pull("localhost:5000/nosuch", tag="1")
    assert raised.value.explanation == (
        "manifest for localhost:5000/nosuch:1 not found: manifest unknown: manifest unknown"
    )
    with pytest.raises(docker.errors.APIError, match="connection refused") as raised:
        client.images.pull("localhost:5999/x", tag="1")
    assert raised.value.status_code == 500
    for name, words in (("localhost:5000/Bad", "must be lowercase"), ("a//b", "invalid reference format")):
        with pytest.raises(docker.errors.APIError, match=words) as raised:
            client.images.pull(name, tag="1")
        assert raised.value.status_code == 400
    found = client.images.get_registry_data("localhost:5000/events:1")
    assert found.has_platform("linux/amd64") and found.id.startswith("sha256:")
    assert client.login("user", "any", registry="localhost:5000")["Status"] == "Login Succeeded"


def test_a_client_that_disconnects_ends_its_pull(place):
    with open(f"/run/netns/{place.host}") as namespace:
        listener = netns.run_in_fd(namespace.fileno(), lambda: socket.create_server(("127.0.0.1", 0)))
    connection = http.client.HTTPConnection("docker")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(place.run / "docker.sock"))
    with listener, contextlib.closing(connection):
        connection.request("POST", f"/images/create?fromImage=127.0.0.1:{listener.getsockname()[1]}/x&tag=1")
        listener.settimeout(10)
        with listener.accept()[0] as asked:
            asked.settimeout(10)
            assert asked.recv(1 << 16)
            connection.close()
            assert asked.recv(1 << 16) == b"", "the daemon goes on with the pull"


def _until(events, action, identifier):
    for event in events:
        yield event
        if (event["Action"], event["Actor"]["ID"]) == (action, identifier):
            events.close()
            return
