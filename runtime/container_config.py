"""Types of a create request in Docker's API: ``Config``, ``HostConfig`` and their parts.

The values are decoded from the request, completed (image defaults, ids in place of container names), stored in the
record, and shown by inspect.
:mod:`runtime.engine.options.validate` validates them.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import field

from netd.api import PREDEFINED_NETWORKS, EndpointSettings, PortBinding
from netd.common.digits import Int64

_JOIN = "container:"

_Weight = Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)]
_Rate = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

StrSlice = list[str] | str | None
"""A command, Docker's ``strslice.StrSlice``: a list, or a string that stands for a list of one word."""


def str_list(value: StrSlice) -> list[str] | None:
    """Return a command as a list; None stays None."""
    return [value] if isinstance(value, str) else value


def joined_container(mode: str) -> str | None:
    """Return NAME of a namespace mode ``container:NAME``, None for other modes."""
    return mode.removeprefix(_JOIN) if mode.startswith(_JOIN) else None


class Empty(msgspec.Struct, frozen=True):
    """The ``{}`` that is the value of every key in maps that Docker uses as sets."""


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """A health check; times are nanoseconds, 0 stands for the default."""

    test: list[str] | None = None
    interval: Int64 = 0
    timeout: Int64 = 0
    start_period: Int64 = 0
    start_interval: Int64 = 0
    retries: Int64 = 0


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Settings of the program: the part of a create request that an image has defaults for."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Empty | None] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: StrSlice = None
    healthcheck: Healthcheck | None = None
    image: str = ""
    volumes: dict[str, Empty | None] | None = None
    working_dir: str = ""
    entrypoint: StrSlice = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: Int64 | None = None
    shell: list[str] | None = None


class LogConfig(msgspec.Struct, frozen=True, rename="pascal"):
    type: str = ""
    config: dict[str, str] | None = None


class RestartPolicy(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    maximum_retry_count: Int64 = 0


class BindOptions(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class TmpfsOptions(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    size_bytes: Int64 = 0
    mode: Int64 = 0
    options: list[list[str]] | None = None


class ImageOptions(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    subpath: str = ""


class Mount(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """One entry of ``HostConfig.Mounts``: a ``--mount`` option."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    image_options: ImageOptions | None = None


class Ulimit(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    hard: Int64 = 0
    soft: Int64 = 0


class DeviceMapping(msgspec.Struct, frozen=True, rename="pascal"):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class WeightDevice(msgspec.Struct, frozen=True, rename="pascal"):
    """The share of a block device's time: 10 to 1000."""

    path: str = ""
    weight: _Weight = 0


class ThrottleDevice(msgspec.Struct, frozen=True, rename="pascal"):
    """The limit of a block device: bytes or operations each second."""

    path: str = ""
    rate: _Rate = 0


class HostConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Settings of this host: resources, mounts, networking, privileges."""

    binds: list[str] | None = None
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig = field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[Int64] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: Int64 = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: Int64 = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: Int64 = 0
    memory: Int64 = 0
    nano_cpus: Int64 = 0
    cgroup_parent: str = ""
    blkio_weight: _Weight = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: Int64 = 0
    cpu_quota: Int64 = 0
    cpu_realtime_period: Int64 = 0
    cpu_realtime_runtime: Int64 = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[Any] | None = None
    kernel_memory: Int64 = 0
    kernel_memory_tcp: Int64 = field(default=0, name="KernelMemoryTCP")
    memory_reservation: Int64 = 0
    memory_swap: Int64 = 0
    memory_swappiness: Int64 | None = None
    oom_kill_disable: bool | None = None
    pids_limit: Int64 | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: Int64 = 0
    cpu_percent: Int64 = 0
    io_maximum_iops: Int64 = field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: Int64 = field(default=0, name="IOMaximumBandwidth")
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    umask: Int64 | None = None
    """Since API version 1.56: the umask of the container's processes; 18 is 0o022."""
    mounts: list[Mount] | None = None


def split_link(text: str) -> tuple[str, str]:
    """Return (target, alias) of a link: ``name``, ``name:alias`` or, as inspect shows it, ``/name:/owner/alias``."""
    name, _, alias = text.partition(":")
    if name.startswith("/"):
        alias = alias.rpartition("/")[2]
    return name.removeprefix("/"), alias or name.removeprefix("/")


def legacy_links(host: HostConfig) -> list[tuple[str, str]]:
    """Return (target's id, alias) of the links to containers, which only the predefined networks have.

    On other networks a link is a name that is resolved at each query.
    """
    if host.network_mode not in ("", "default", *PREDEFINED_NETWORKS):
        return []
    return [split_link(text) for text in host.links or ()]


class NetworkingConfig(msgspec.Struct, frozen=True, rename="pascal"):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class CreateRequest(Config, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /containers/create``."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None
