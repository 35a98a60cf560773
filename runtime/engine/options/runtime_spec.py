"""Builds the container spec, the one value that the shim creates a container from.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig
from runtime.engine.options import log_options, networking, process, resources, security, sysctls
from runtime.paths import ContainerPaths
from runtime.record import ContainerRecord, MountPoint, MountPointOptions
from runtime.spec import CGROUP_PARENT, ContainerSpec, Device, MountSpec, RootSource

_NAME_MAX = 255

DEFAULT_SHM_SIZE = 64 << 20
"""Bytes of /dev/shm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContext:
    """Values that are known only at the start of a container."""

    hostname: str
    netns: str | None
    network_later: bool = False
    userns: str = ""
    pid_mode: str
    ipc_mode: str
    root: RootSource
    files: ContainerPaths
    """The resolv.conf, hosts and hostname to mount: its own, or those of the container whose network it shares."""
    cpus: int
    """The host's number of CPUs."""
    memory_nodes: str = "0"
    """The host's online NUMA nodes."""
    link_environment: tuple[str, ...] = ()


def container(record: ContainerRecord, own: ContainerPaths, context: StartContext) -> ContainerSpec:
    host = record.host
    _, other_sysctls = sysctls.split(
        host.sysctls,
        own_network=networking.owns_network(host),
        own_ipc=context.ipc_mode == "private",
        own_uts=owns_uts(host),
        joined_network=networking.shares_network(host),
    )
    size, count = log_options.limits(host)
    masked, read_only = security.system_paths(host)
    return ContainerSpec(
        id=record.id,
        hostname=context.hostname,
        domainname=record.config.domainname,
        netns=context.netns,
        network_later=context.network_later,
        userns=context.userns,
        pid_mode=context.pid_mode,
        ipc_mode=context.ipc_mode,
        uts_mode="private" if owns_uts(host) else "host",
        cgroup_namespace=host.cgroupns_mode,
        cgroup_parent=cgroup_parent(host),
        writable_cgroups=security.has_writable_cgroups(host),
        lower=context.root.lower,
        upper=context.root.upper,
        work=context.root.work,
        root=context.root.root,
        read_only=host.readonly_rootfs,
        mounts=mounts(record, context.files),
        devices=devices(host),
        sysctls=other_sysctls,
        shm_size=0 if host.ipc_mode == "none" else host.shm_size or DEFAULT_SHM_SIZE,
        privileged=host.privileged,
        masked_paths=masked,
        read_only_paths=read_only,
        init=bool(host.init),
        limits=resources.limits(host, context.cpus, context.memory_nodes),
        log_path="" if host.log_config.type == "none" else str(own.log),
        log_max_size=size,
        log_max_files=count,
        process=process.main_process(record, context.hostname, context.link_environment),
    )


def cgroup_parent(host: HostConfig) -> str:
    """Return the parent of the container's control group, relative to each hierarchy.  Raises BadRequest."""
    path = host.cgroup_parent
    if not path:
        return CGROUP_PARENT
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or any(len(part) > _NAME_MAX or not part.isprintable() for part in parts):
        raise BadRequest(f"invalid --cgroup-parent {path!r}: use the path of a control group, such as /batch/low")
    return "/".join(parts)


def owns_uts(host: HostConfig) -> bool:
    return host.uts_mode != "host"


def mounts(record: ContainerRecord, paths: ContainerPaths) -> tuple[MountSpec, ...]:
    """Return all mounts, parents before children, so that a mount on /etc does not hide the files mounted below it.

    A volume is a bind mount of its folder.
    """
    requested = [_mount(point, record.tmpfs) for point in record.mounts]
    shown = {point.destination for point in record.mounts}
    requested += [_tmpfs(target, options) for target, options in record.tmpfs.items() if target not in shown]
    return tuple(sorted([*requested, *_files(record, paths)], key=_depth))


def _depth(mount: MountSpec) -> tuple[int, str]:
    return (mount.target.count("/"), mount.target)


def _mount(point: MountPoint, tmpfs: dict[str, str]) -> MountSpec:
    if point.type == "tmpfs":
        return MountSpec(
            kind="tmpfs", target=point.destination, options=tmpfs[point.destination], read_only=not point.rw
        )
    options = point.options or MountPointOptions()
    return MountSpec(
        kind="image" if point.type == "image" else "bind",
        target=point.destination,
        source=point.source,
        read_only=not point.rw,
        propagation=point.propagation or "rprivate",
        subpath=options.subpath,
        recursive=options.recursive,
        read_only_recursive=options.read_only_recursive,
        layers=tuple(options.layers),
    )


def _tmpfs(target: str, options: str) -> MountSpec:
    return MountSpec(kind="tmpfs", target=target, options=options, read_only="ro" in options.split(","))


def _files(record: ContainerRecord, paths: ContainerPaths) -> list[MountSpec]:
    """Return the mounts of the generated /etc files, without those that a mount of the request replaces."""
    targets = {point.destination for point in record.mounts} | set(record.tmpfs)
    files = (
        ("/etc/resolv.conf", paths.resolv_conf),
        ("/etc/hostname", paths.hostname),
        ("/etc/hosts", paths.hosts),
    )
    return [
        MountSpec(kind="bind", target=target, source=str(path), read_only=record.host.readonly_rootfs)
        for target, path in files
        if target not in targets
    ]


def devices(host: HostConfig) -> tuple[Device, ...]:
    result = []
    for device in host.devices or ():
        access = device.cgroup_permissions or "rwm"
        if not device.path_on_host.startswith("/") or not set(access) <= set("rwm"):
            raise BadRequest(
                f"invalid device {device.path_on_host!r} with access {access!r}: use /dev/NAME and letters of rwm"
            )
        target = device.path_in_container or device.path_on_host
        result.append(Device(source=device.path_on_host, target=target, access=access))
    return tuple(result)
