"""Records of containers and volumes in the store, and the configuration of execs.

The types are frozen: an update creates a new value.  :mod:`runtime.api.shapes` builds inspect responses from them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from netd.api import EndpointSettings, SandboxSettings
from netd.common.digits import Int64
from netd.common.ids import ZERO_TIME
from runtime.container_config import Config, HostConfig, str_list

Status = Literal["created", "running", "paused", "restarting", "removing", "exited"]


class MountPointOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What inspect does not show of a mount."""

    subpath: str = ""
    recursive: bool = True
    read_only_recursive: bool = True
    layers: list[str] = []
    """Chain ids of a mounted image, top first."""
    image: str = ""
    """The id of a mounted image."""


class MountPoint(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One mount of a container as inspect shows it."""

    type: Literal["bind", "volume", "tmpfs", "image"]
    name: str = ""
    source: str = ""
    destination: str
    driver: str = ""
    mode: str = ""
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""
    options: MountPointOptions | None = None


class IdRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range of host user and group ids, mapped to the ids from 0 on in a container."""

    first: int
    count: int
    shared: bool = False
    """Whether other containers use the same range."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME

    @property
    def alive(self) -> bool:
        """Whether the container has a process."""
        return self.status in ("running", "paused")

    @property
    def counts_as_running(self) -> bool:
        """Whether Docker counts the container as running, which includes waiting for a restart."""
        return self.status in ("running", "paused", "restarting")


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A container.  ``config`` includes the image's defaults; ``endpoints`` are the requested endpoints by network."""

    id: str
    name: str
    created: str
    image: str
    """The image's id with ``sha256:``."""
    layers: list[str]
    """Chain ids, top first."""
    driver: str = "overlay2"
    """The storage driver of its root."""
    config: Config
    host: HostConfig
    endpoints: dict[str, EndpointSettings]
    mounts: list[MountPoint]
    tmpfs: dict[str, str]
    """Mount options of every tmpfs by target, from ``--tmpfs`` and ``--mount``."""
    state: State = State()
    restarts: int = 0
    stopped: bool = False
    """It was stopped on request: only ``always`` restarts it, when the daemon starts."""
    network: SandboxSettings | None = None
    """netd's response, while the container runs."""
    userns: IdRange | None = None
    """The ids of its user namespace; None without user namespace."""
    build: bool = False
    """It runs a step of a build; the next start of the daemon removes it."""

    @property
    def argv(self) -> list[str]:
        return [*(str_list(self.config.entrypoint) or ()), *(str_list(self.config.cmd) or ())]

    @property
    def short_id(self) -> str:
        return self.id[:12]


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    created: str
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    anonymous: bool = False


class ExecConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /containers/{id}/exec``."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    tty: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    console_size: list[Int64] | None = None
