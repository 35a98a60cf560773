"""testcontainers against the daemon: networks, ports, aliases, mounts, logs, exec and builds, as its users write them.

It runs in a process of its own in the daemon's network namespace, where it reaches published ports.
"""

from __future__ import annotations

import os
import sys

PROGRAM = """
import sys
import urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

SERVER = "mkdir /w; echo hello >/w/index.html; echo ready; exec httpd -f -p 80 -h /w"
with Network() as network:
    web = DockerContainer("busybox").with_command(["sh", "-c", SERVER]).with_exposed_ports(80)
    web.with_network(network).with_network_aliases("web").with_volume_mapping(sys.argv[1], "/data", "ro")
    with web.waiting_for(LogMessageWaitStrategy("ready")):
        with urllib.request.urlopen(f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/") as page:
            print("page", page.read())
        print("exec", web.exec("cat /data/file").output)
        with DockerContainer("busybox").with_command("wget -qO- http://web/").with_network(network) as client:
            print("exit", client.get_wrapped_container().wait()["StatusCode"], client.get_logs()[0])
with DockerImage(path=sys.argv[1], tag="testcontainers:1") as image:
    with DockerContainer(str(image)) as built:
        print("built", built.get_wrapped_container().wait()["StatusCode"], built.get_logs()[0])
"""


def test_testcontainers_runs_containers_as_with_docker(place, api, tmp_path):
    (tmp_path / "file").write_text("mounted")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo made >/made\nCMD cat /made\n")
    variables = {"DOCKER_HOST": f"unix://{place.run}/docker.sock", "TESTCONTAINERS_RYUK_DISABLED": "true"}
    done = place.on_host(sys.executable, "-c", PROGRAM, str(tmp_path), env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        r"page b'hello\n'", "exec b'mounted'", r"exit 0 b'hello\n'", r"built 0 b'made\n'",
    ]  # fmt: skip
    assert api.containers(all=True) == []
