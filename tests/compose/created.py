"""Creates the projects of the corpus on an engine and returns what inspect shows; as a program, records Docker's.

    .venv/bin/python -m tests.compose.created /path/of/docker.sock /path/of/docker-compose [/root/of/engine]

Images are replaced by a busybox image that both engines get from one archive, and paths of the host by folders of the
project; all other settings are those of the files.  The containers are created; those of some projects are also
started, with a command that sleeps, without health checks and without fixed ports of the host.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import yaml

from netd.compose.files.project_files import NAMES, OVERRIDES
from netd.compose.files.rendering import escaped
from netd.compose.load import load_project
from tests.compose import recorder
from tests.compose.recorder import FOLDER
from tests.differential.normalize import normalized
from tests.installation import busybox_tar

IMAGE = "dx-compose:latest"
VOLUME = "dx-vault-data"
"""The external volume of a project."""
FILE = recorder.GOLDEN / "created.json"
_HOST_PATHS = ("/etc/", "/lib/", "/sys", "/var/run", "/run/", "/dev", "/proc")

Json = dict[str, Any]
Compose = Callable[[Path, list[str]], subprocess.CompletedProcess[str]]


STARTED = ("extends-include", "many-files", "redis-sentinel", "version-1", "voting-version-2", "gitea")
"""Projects that are also started."""


def prepared(name: str, below: Path, *, start: bool = False) -> Path:
    """Return the folder of a copied project whose ``compose.yaml`` can be created on any machine, or started."""
    folder = recorder.copied(name, below)
    given = recorder.flags(name)
    found = [file for file in (*NAMES, *OVERRIDES) if (folder / file).exists()]
    loaded = load_project(
        [folder / file for file in given.get("files", found)],
        project_name=None,
        project_directory=None,
        profiles=given.get("profiles", ()),
        env_files=(),
        environment={**recorder.environment(name), "HOME": str(folder)},
    )
    document = json.loads(json.dumps(loaded.document).replace(f'"{loaded.document["name"]}_', f'"dx-{name}_'))
    document["name"] = f"dx-{name}"
    for service in document["services"].values():
        _replace_image(service)
        service["volumes"] = [_replace_path(volume, folder) for volume in service.get("volumes", ())]
        if start:
            _make_startable(service)
        if "container_name" in service:
            service["container_name"] = f"dx-{service['container_name']}"
    for section in ("networks", "volumes", "secrets", "configs"):
        for entry in (document.get(section) or {}).values():
            _replace_object(section, entry, folder)
    for file in folder.glob("*.y*ml"):
        file.unlink()
    (folder / ".env").unlink(missing_ok=True)
    (folder / "compose.yaml").write_text(yaml.safe_dump(escaped(_writable(document))))
    return folder


def _writable(document: Json) -> Json:
    services = {
        name: {key: value for key, value in service.items() if value is not None}
        for name, service in document["services"].items()
    }
    return {**{key: value for key, value in document.items() if not key.startswith("x-")}, "services": services}


def _replace_image(service: Json) -> None:
    for key in ("build", "develop", "platform", "pull_policy"):
        service.pop(key, None)
    service["image"] = IMAGE


def _make_startable(service: Json) -> None:
    for key in ("healthcheck", "devices", "logging", "ulimits", "post_start", "pre_stop", "restart"):
        service.pop(key, None)
    service.update({"entrypoint": ["sleep"], "command": ["600"], "stop_grace_period": "0s"})
    service["ports"] = [{**port, "published": ""} for port in service.get("ports", ())]
    for dependency in (service.get("depends_on") or {}).values():
        dependency["condition"] = "service_started"


def _replace_path(volume: Json, folder: Path) -> Json:
    source = volume.get("source", "")
    if volume["type"] != "bind" or source == "/" or source.startswith(_HOST_PATHS):
        return volume
    inside = Path(source) if source.startswith(str(folder)) else folder / "host" / source.lstrip("/")
    if not inside.exists():
        inside.mkdir(parents=True)
    return {**volume, "source": str(inside)}


def _replace_object(section: str, entry: Json, folder: Path) -> None:
    if section == "networks" and entry.get("driver") == "macvlan":
        entry["driver"] = "bridge"
        entry.pop("driver_opts", None)
    if section == "networks" and "_" not in entry["name"]:
        entry["name"] = f"dx-{entry['name']}"
    if entry.get("external"):
        entry["name"] = VOLUME
    if "file" in entry and not Path(entry["file"]).exists():
        Path(entry["file"]).write_text("secret")


def inspected(socket: str, name: str, folder: Path) -> Json:
    """Return the inspect documents of a project's containers, networks and volumes by name, with placeholders."""
    found: Json = {"containers": {}, "networks": {}, "volumes": {}}
    with docker.APIClient(base_url=f"unix://{socket}", version="1.51", timeout=60) as client:
        mine = {"label": f"com.docker.compose.project=dx-{name}"}
        for container in client.containers(all=True, filters=mine):
            document = client.inspect_container(container["Id"])
            found["containers"][document["Name"].lstrip("/")] = document
        for network in client.networks(filters=mine):
            found["networks"][network["Name"]] = client.inspect_network(network["Id"])
        for volume in client.volumes(filters=mine)["Volumes"] or ():
            found["volumes"][volume["Name"]] = client.inspect_volume(volume["Name"])
    for network in found["networks"].values():
        network["Containers"] = sorted(endpoint["Name"] for endpoint in network["Containers"].values())
    found["containers"] = {key: _container(value) for key, value in found["containers"].items()}
    return normalized(json.loads(json.dumps(found).replace(str(folder), FOLDER)))


_LEFT_OUT = (
    "Id", "Created", "Image", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "GraphDriver",
    "ImageManifestDescriptor", "AppArmorProfile", "Driver", "Platform", "ProcessLabel", "MountLabel",
)  # fmt: skip
"""Fields of the engine and of the image, which tests/differential compares."""


def _container(document: Json) -> Json:
    found = {key: value for key, value in document.items() if key not in _LEFT_OUT}
    if len(found["Config"].get("Hostname") or "") == 12:
        found["Config"]["Hostname"] = "<short id>"
    labels = found["Config"]["Labels"]
    labels["com.docker.compose.version"] = "<version>"
    dependencies = labels.get("com.docker.compose.depends_on", "").split(",")
    labels["com.docker.compose.depends_on"] = ",".join(sorted(dependencies))
    found["Config"]["Env"] = sorted(found["Config"]["Env"] or ())
    for mount in found["Mounts"]:
        if mount["Type"] == "volume" and len(mount.get("Name", "")) == 64:
            mount["Name"] = "<id>"
    for bindings in found["NetworkSettings"]["Ports"].values():
        for binding in bindings or ():
            binding["HostPort"] = "<port>"
    for endpoint in found["NetworkSettings"]["Networks"].values():
        if not (endpoint["IPAMConfig"] or {}).get("IPv4Address"):
            endpoint["IPAddress"] = "<address>" if endpoint["IPAddress"] else ""
    found["Mounts"].sort(key=lambda mount: mount["Destination"])
    for key in ("Binds", "Mounts", "ExtraHosts", "Ulimits"):
        entries = found["HostConfig"].get(key)
        found["HostConfig"][key] = sorted(entries, key=str) if entries else entries
    return found


def created(socket: str, compose: Compose, name: str, root: str = "", *, start: bool = False) -> Json:
    """Create a project with *compose*, or with *start* bring it up, inspect it, and remove it.

    *root* is the root of the engine's file system on this machine, if it has one of its own.
    """
    with tempfile.TemporaryDirectory(prefix="dx-", dir="/var/tmp") as scratch:
        folder = prepared(name, Path(scratch), start=start)
        if root:
            shutil.copytree(scratch, root + scratch)
        try:
            done = compose(folder, ["up", "-d", "--no-build"] if start else ["create", "--no-build"])
            if done.returncode:
                return {"error": done.stderr.strip().replace(str(folder), FOLDER)}
            return inspected(socket, name, folder)
        finally:
            compose(folder, ["down", "--volumes", "--timeout", "0"])
            if root:
                shutil.rmtree(root + scratch)


def prepare_engine(socket: str) -> None:
    with docker.APIClient(base_url=f"unix://{socket}", version="1.51", timeout=60) as client:
        repository, _, tag = IMAGE.partition(":")
        client.import_image_from_data(busybox_tar(), repository=repository, tag=tag, changes=['CMD ["sleep", "600"]'])
        client.create_volume(VOLUME)


def clean_engine(socket: str) -> None:
    with docker.APIClient(base_url=f"unix://{socket}", version="1.51", timeout=60) as client:
        client.remove_image(IMAGE, force=True)
        client.remove_volume(VOLUME, force=True)


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "UNSEAL_KEY": "key", "BANNER": "hello"}


def docker_compose(program: str, socket: str) -> Compose:
    """Return the call of Docker's compose on the engine at *socket*."""

    def run(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
        variables = {**environment(folder), "DOCKER_HOST": f"unix://{socket}"}
        return subprocess.run([program, *words], cwd=folder, env=variables, capture_output=True, text=True, timeout=120)

    return run


def record(socket: str, program: str, root: str) -> None:
    compose = docker_compose(program, socket)
    version = subprocess.run([program, "version", "--short"], capture_output=True, text=True).stdout.strip()
    prepare_engine(socket)
    try:
        projects = {name: created(socket, compose, name, root) for name in recorder.names()}
        started = {name: created(socket, compose, name, root, start=True) for name in STARTED}
    finally:
        clean_engine(socket)
    for name, answer in [*projects.items(), *started.items()]:
        print(name, answer.get("error", "created"))
    head = {"compose": version, "recorded": time.strftime("%Y-%m-%d", time.gmtime())}
    FILE.write_text(json.dumps({**head, "projects": projects, "started": started}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record(sys.argv[1], os.path.abspath(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
