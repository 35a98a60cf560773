"""The canonical form of a compose project as typed values.

It is what ``docker compose config --format json`` prints, with ``$`` in place of ``$$``.

Pure.  Fields have the names, the types and, because hashes are computed of them, the order of compose-go's structs
(``types/types.go``): the encoded form of a value is byte for byte what Go's encoder writes.  Reads no files and knows
nothing of the Engine API.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

Json = dict[str, Any]


class Canonical(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all values; a field with its default is omitted, as by Go's ``omitempty``."""


class SoftHard(Canonical):
    """A ulimit with two values; a ulimit of one value is an integer."""

    soft: int = 0
    hard: int = 0


class BuildSettings(Canonical):
    context: str = ""
    dockerfile: str = ""
    dockerfile_inline: str = ""
    entitlements: list[str] = []
    args: dict[str, str | None] = {}
    provenance: str = ""
    sbom: str = ""
    ssh: Any = None
    labels: dict[str, str] = {}
    cache_from: list[str] = []
    cache_to: list[str] = []
    no_cache: bool = False
    no_cache_filter: list[str] = []
    additional_contexts: dict[str, str] = {}
    pull: bool = False
    extra_hosts: list[str] = []
    isolation: str = ""
    network: str = ""
    target: str = ""
    secrets: list[FileReference] = []
    shm_size: str = ""
    tags: list[str] = []
    ulimits: dict[str, int | SoftHard] = {}
    platforms: list[str] = []
    privileged: bool = False


class ThrottleRate(Canonical):
    path: str = field(default="", name="Path")
    rate: str = field(default="0", name="Rate")


class DeviceWeight(Canonical):
    path: str = field(default="", name="Path")
    weight: int = field(default=0, name="Weight")


class BlockIo(Canonical):
    weight: int = 0
    weight_device: list[DeviceWeight] = []
    device_read_bps: list[ThrottleRate] = []
    device_read_iops: list[ThrottleRate] = []
    device_write_bps: list[ThrottleRate] = []
    device_write_iops: list[ThrottleRate] = []


class FileReference(Canonical):
    """Use of a secret or config by a service or a build; ``mode`` is octal text."""

    source: str = ""
    target: str = ""
    uid: str = ""
    gid: str = ""
    mode: str | None = None


class Dependency(Canonical):
    condition: str = ""
    restart: bool = False
    required: bool = field(default_factory=lambda: True)


class DeviceDemand(Canonical):
    capabilities: list[str] = []
    driver: str = ""
    count: int = 0
    device_ids: list[str] = []
    options: dict[str, str] = {}


class ResourceAmounts(Canonical):
    cpus: int | float = 0
    memory: str = ""
    pids: int = 0
    devices: list[DeviceDemand] = []
    generic_resources: list[Any] = []


class DeployResources(Canonical):
    limits: ResourceAmounts | None = None
    reservations: ResourceAmounts | None = None


class DeployRestart(Canonical):
    condition: str = ""
    delay: str | None = None
    max_attempts: int | None = None
    window: str | None = None


class UpdateSettings(Canonical):
    parallelism: int | None = None
    delay: str = ""
    failure_action: str = ""
    monitor: str = ""
    max_failure_ratio: int | float = 0
    order: str = ""


class PlacementRules(Canonical):
    constraints: list[str] = []
    preferences: list[Any] = []
    max_replicas_per_node: int = 0


class Deployment(Canonical):
    """``deploy``; structs that Go embeds by value are written also if they are empty."""

    mode: str = ""
    replicas: int | None = None
    labels: dict[str, str] = {}
    update_config: UpdateSettings | None = None
    rollback_config: UpdateSettings | None = None
    resources: DeployResources = field(default_factory=DeployResources)
    restart_policy: DeployRestart | None = None
    placement: PlacementRules = field(default_factory=PlacementRules)
    endpoint_mode: str = ""


class DeviceNode(Canonical):
    source: str = ""
    target: str = ""
    permissions: str = ""


class HealthTest(Canonical):
    """``healthcheck``; times are Go durations."""

    test: list[str] = []
    timeout: str | None = None
    interval: str | None = None
    retries: int | None = None
    start_period: str | None = None
    start_interval: str | None = None
    disable: bool = False


class LogSettings(Canonical):
    driver: str = ""
    options: dict[str, str] = {}


class ServiceNetwork(Canonical):
    aliases: list[str] = []
    driver_opts: dict[str, str] = {}
    gw_priority: int = 0
    interface_name: str = ""
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] = []
    mac_address: str = ""
    priority: int = 0


class ServicePort(Canonical):
    """A published port; ``published`` is a port, a range or empty."""

    name: str = ""
    mode: str = ""
    host_ip: str = ""
    target: int = 0
    published: str = ""
    protocol: str = ""
    app_protocol: str = ""


class BindSettings(Canonical):
    selinux: str = ""
    propagation: str = ""
    create_host_path: bool = False
    recursive: str = ""


class VolumeSettings(Canonical):
    labels: dict[str, str] = {}
    nocopy: bool = False
    subpath: str = ""


class TmpfsSettings(Canonical):
    size: str = ""
    mode: int = 0


class ImageMountSettings(Canonical):
    subpath: str = ""


class ServiceVolume(Canonical):
    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind: BindSettings | None = None
    volume: VolumeSettings | None = None
    tmpfs: TmpfsSettings | None = None
    image: ImageMountSettings | None = None


class LifecycleHook(Canonical):
    command: list[str] | None = None
    user: str = ""
    privileged: bool = False
    working_dir: str = ""
    environment: dict[str, str | None] = {}


class WatchCommand(LifecycleHook):
    command: list[str] | None


class WatchRule(Canonical):
    path: str = ""
    action: str = ""
    target: str = ""
    exec: WatchCommand | None = None
    include: list[str] = []
    ignore: list[str] = []
    initial_sync: bool = False


class DevelopSettings(Canonical):
    watch: list[WatchRule] = []


class ComposeService(Canonical):
    """A service.  ``command`` and ``entrypoint`` are None without one, and empty to clear that of the image."""

    profiles: list[str] = []
    annotations: dict[str, str] = {}
    attach: bool | None = None
    build: BuildSettings | None = None
    develop: DevelopSettings | None = None
    blkio_config: BlockIo | None = None
    cap_add: list[str] = []
    cap_drop: list[str] = []
    cgroup_parent: str = ""
    cgroup: str = ""
    cpu_count: int = 0
    cpu_percent: int | float = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_rt_period: int = 0
    cpu_rt_runtime: int = 0
    cpus: int | float = 0
    cpuset: str = ""
    cpu_shares: int = 0
    command: list[str] | None = field(default_factory=lambda: None)
    configs: list[FileReference] = []
    container_name: str = ""
    credential_spec: Any = None
    depends_on: dict[str, Dependency] = {}
    deploy: Deployment | None = None
    device_cgroup_rules: list[str] = []
    devices: list[DeviceNode] = []
    dns: list[str] = []
    dns_opt: list[str] = []
    dns_search: list[str] = []
    dockerfile: str = ""
    domainname: str = ""
    entrypoint: list[str] | None = field(default_factory=lambda: None)
    provider: Any = None
    environment: dict[str, str | None] = {}
    env_file: Any = None
    expose: list[str] = []
    extends: Any = None
    external_links: list[str] = []
    extra_hosts: list[str] = []
    group_add: list[str] = []
    gpus: list[DeviceDemand] = []
    hostname: str = ""
    healthcheck: HealthTest | None = None
    image: str = ""
    init: bool | None = None
    ipc: str = ""
    isolation: str = ""
    labels: dict[str, str] = {}
    label_file: list[str] = []
    links: list[str] = []
    logging: LogSettings | None = None
    log_driver: str = ""
    log_opt: dict[str, str] = {}
    mem_limit: str = ""
    mem_reservation: str = ""
    memswap_limit: str = ""
    mem_swappiness: str = ""
    mac_address: str = ""
    models: Any = None
    net: str = ""
    network_mode: str = ""
    networks: dict[str, ServiceNetwork | None] = {}
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    pid: str = ""
    pids_limit: int = 0
    platform: str = ""
    ports: list[ServicePort] = []
    privileged: bool = False
    pull_policy: str = ""
    read_only: bool = False
    restart: str = ""
    runtime: str = ""
    scale: int | None = None
    secrets: list[FileReference] = []
    security_opt: list[str] = []
    shm_size: str = ""
    stdin_open: bool = False
    stop_grace_period: str | None = None
    stop_signal: str = ""
    storage_opt: dict[str, str] = {}
    sysctls: dict[str, str] = {}
    tmpfs: list[str] = []
    tty: bool = False
    ulimits: dict[str, int | SoftHard] = {}
    use_api_socket: bool = False
    user: str = ""
    userns_mode: str = ""
    uts: str = ""
    volume_driver: str = ""
    volumes: list[ServiceVolume] = []
    volumes_from: list[str] = []
    working_dir: str = ""
    post_start: list[LifecycleHook] = []
    pre_stop: list[LifecycleHook] = []

    def replicas(self) -> int:
        """Return the number of containers that the service asks for."""
        if self.scale is not None:
            return self.scale
        if self.deploy is not None and self.deploy.replicas is not None:
            return self.deploy.replicas
        return 1

    def networks_by_priority(self) -> list[str]:
        """Return the keys of the service's networks, those of the highest priority first, then by name."""
        return sorted(self.networks, key=lambda key: (-_priority(self.networks[key]), key))


class AddressPool(Canonical):
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: dict[str, str] = {}


class AddressManagement(Canonical):
    driver: str = ""
    config: list[AddressPool] = []
    options: dict[str, str] = {}


class ProjectNetwork(Canonical):
    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    ipam: AddressManagement = field(default_factory=AddressManagement)
    external: bool = False
    internal: bool = False
    attachable: bool = False
    labels: dict[str, str] = {}
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None


class ProjectVolume(Canonical):
    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external: bool = False
    labels: dict[str, str] = {}


class ProjectFile(Canonical):
    """A secret or a config: a path on this host, a variable of the environment, or its content."""

    name: str = ""
    file: str = ""
    environment: str = ""
    content: str = ""
    external: bool = False
    labels: dict[str, str] = {}
    driver: str = ""
    driver_opts: dict[str, str] = {}
    template_driver: str = ""


class ComposeProject(Canonical):
    """A whole project."""

    name: str
    services: dict[str, ComposeService] = {}
    networks: dict[str, ProjectNetwork] = {}
    volumes: dict[str, ProjectVolume] = {}
    secrets: dict[str, ProjectFile] = {}
    configs: dict[str, ProjectFile] = {}
    models: Any = None


def decode_project(document: Json) -> ComposeProject:
    """Return the project of a canonical document.

    Extensions (``x-…``) are dropped.  Raises ValueError with the path of a value that no compose file can have.
    """
    try:
        return msgspec.convert(_without_extensions(_with_whole_numbers(document)), ComposeProject)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def encode(value: Canonical) -> bytes:
    """Return the compact JSON of Go's encoder: fields in their order, keys of maps sorted, <, > and & escaped."""
    text = msgspec.json.encode(value, order="deterministic")
    for plain, escaped in _ESCAPED:
        text = text.replace(plain, escaped)
    return text


_ESCAPED = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def _priority(network: ServiceNetwork | None) -> int:
    return network.priority if network is not None else 0


def _with_whole_numbers(value: Any) -> Any:
    """Return *value* with integers in place of whole floats, as Go's encoder writes them."""
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _with_whole_numbers(entry) for key, entry in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_extensions(document: Json) -> Json:
    return {key: value for key, value in document.items() if not key.startswith("x-")}
