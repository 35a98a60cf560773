"""Paths of netd-runtime's files.  Pure: this module does not access the disk.

STATE persists over reboots; RUN holds sockets and files of running processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ContainerPaths:
    """The folder of one container."""

    folder: Path

    @property
    def upper(self) -> Path:
        return self.folder / "diff"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def root(self) -> Path:
        return self.folder / "merged"

    @property
    def hosts(self) -> Path:
        return self.folder / "hosts"

    @property
    def hostname(self) -> Path:
        return self.folder / "hostname"

    @property
    def resolv_conf(self) -> Path:
        return self.folder / "resolv.conf"

    @property
    def record(self) -> Path:
        return self.folder / "config.json"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.folder.name}-json.log"


@dataclass(frozen=True, slots=True)
class Paths:
    state: Path
    run: Path

    @property
    def database(self) -> Path:
        return self.state / "runtime.db"

    @property
    def layers(self) -> Path:
        return self.state / "layers"

    @property
    def recipes(self) -> Path:
        """Folder of the tar recipes, by which layers are turned into archives again."""
        return self.state / "recipes"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def containers(self) -> Path:
        return self.state / "containers"

    @property
    def build_mounts(self) -> Path:
        """Folder of the cache mounts of builds."""
        return self.state / "build-mounts"

    @property
    def scratch(self) -> Path:
        """Folder for data that is being created or deleted; emptied at every start."""
        return self.state / "tmp"

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def netd_socket(self) -> Path:
        return self.run / "netd.sock"

    def container(self, identifier: str) -> ContainerPaths:
        return ContainerPaths(self.containers / identifier)

    def volume(self, name: str) -> Path:
        """Return the folder that is mounted for a volume."""
        return self.volumes / name / "_data"

    def volume_options(self, name: str) -> Path:
        return self.volumes / name / "opts.json"

    def layer(self, chain_id: str) -> Path:
        return self.layers / chain_id.removeprefix("sha256:")

    def recipe(self, chain_id: str) -> Path:
        return self.recipes / chain_id.removeprefix("sha256:")

    @property
    def no_layers(self) -> Path:
        """An empty folder that stands for the layers of an image that has none."""
        return self.state / "no-layers"

    def layer_folders(self, chains: Iterable[str]) -> list[str]:
        """Return the folders of the layers, at least one."""
        return [str(self.layer(chain)) for chain in chains] or [str(self.no_layers)]
