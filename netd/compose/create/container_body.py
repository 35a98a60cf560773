"""The body of the request that creates a container of a service.  Pure; references to other services are resolved."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netd.compose import project_names as names
from netd.compose.config_hash import service_hash
from netd.compose.create.container_mounts import mounts
from netd.compose.create.engine_units import nanoseconds, whole_seconds
from netd.compose.create.service_limits import limits, restart_policy
from netd.compose.model import ComposeProject, ComposeService, HealthTest, Json, ServiceNetwork

_UNSUPPORTED = ("credential_spec", "provider", "models", "use_api_socket")


class ContainerIdentity(Struct, frozen=True, kw_only=True):
    """What distinguishes a container from others of its service.

    ``number`` is 0 and ``slug`` is set for a container of ``run``; ``replaces`` is the name (without the project) of
    the container whose place it takes.
    """

    name: str
    number: int = 0
    slug: str = ""
    replaces: str = ""
    labels: dict[str, str] = {}


class CreationContext(Struct, frozen=True, kw_only=True):
    """What a create request needs beside project and service.

    ``volumes_from`` are ids with modes, ``links`` words for the Engine API, ``inherited`` the mounts of the container
    that is replaced.
    """

    image: str
    image_id: str
    working_dir: str
    files: tuple[str, ...]
    links: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    inherited: tuple[Json, ...] = ()
    image_volumes: tuple[str, ...] = ()
    aliases: bool = True
    attach_stdin: bool = False
    auto_remove: bool = False


def container_body(
    project: ComposeProject, key: str, service: ComposeService, identity: ContainerIdentity, context: CreationContext
) -> Json:
    """Return the body.  Raises ValueError for settings that are not supported, with their path in the file."""
    refuse_unsupported(key, service)
    body = _process(service, context)
    body["Labels"] = labels(project, key, service, identity, context)
    body["HostConfig"] = _host_config(project, service, context)
    if not service.network_mode and project.networks:
        body["NetworkingConfig"] = {"EndpointsConfig": _endpoints(project, key, service, identity.name, context)}
    return body


def refuse_unsupported(key: str, service: ComposeService) -> None:
    """Raise ValueError if the service has settings that netd cannot honour."""
    for name in _UNSUPPORTED:
        if getattr(service, name):
            raise ValueError(f"services.{key}.{name} is not supported: remove it from the compose file")
    for network, wanted in service.networks.items():
        if wanted is not None and wanted.interface_name:
            raise ValueError(f"services.{key}.networks.{network}.interface_name is not supported: remove it")


def labels(
    project: ComposeProject,
    key: str,
    service: ComposeService,
    identity: ContainerIdentity,
    context: CreationContext,
) -> dict[str, str]:
    """Return all labels of a container: those of the file, and those by which compose finds it."""
    found = {
        **service.labels,
        **identity.labels,
        **names.project_label(project),
        names.SERVICE: key,
        names.ONE_OFF: "True" if identity.slug else "False",
        names.WORKING_DIR: context.working_dir,
        names.CONFIG_FILES: ",".join(context.files),
        names.CONFIG_HASH: service_hash(service),
        names.DEPENDS_ON: names.dependencies_label(service),
        names.IMAGE: context.image_id,
    }
    special = {names.NUMBER: identity.number, names.SLUG: identity.slug, names.REPLACE: identity.replaces}
    return found | {name: str(value) for name, value in special.items() if value}


def _process(service: ComposeService, context: CreationContext) -> Json:
    body: Json = {
        "Hostname": service.hostname,
        "Domainname": service.domainname,
        "User": service.user,
        "AttachStdin": context.attach_stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": service.tty,
        "OpenStdin": service.stdin_open,
        "StdinOnce": context.attach_stdin and service.stdin_open,
        "Env": [name if value is None else f"{name}={value}" for name, value in service.environment.items()],
        "Cmd": service.command,
        "Entrypoint": service.entrypoint,
        "Image": context.image,
        "WorkingDir": service.working_dir,
        "StopSignal": service.stop_signal,
        "ExposedPorts": _exposed(service),
    }
    if service.stop_grace_period is not None:
        body["StopTimeout"] = whole_seconds(service.stop_grace_period)
    if service.healthcheck is not None:
        body["Healthcheck"] = _health(service.healthcheck)
    return body


def _exposed(service: ComposeService) -> Json:
    ports = [*service.expose, *(f"{port.target}/{port.protocol or 'tcp'}" for port in service.ports)]
    return {port if "/" in port else f"{port}/tcp": {} for port in ports}


def _health(wanted: HealthTest) -> Json:
    times = {
        "Interval": wanted.interval,
        "Timeout": wanted.timeout,
        "StartPeriod": wanted.start_period,
        "StartInterval": wanted.start_interval,
    }
    found = {name: nanoseconds(text) for name, text in times.items() if text}
    test = ["NONE"] if wanted.disable else wanted.test
    return {"Test": test, **found, "Retries": wanted.retries or 0}


def _host_config(project: ComposeProject, service: ComposeService, context: CreationContext) -> Json:
    binds, mounted = mounts(project, service, context.inherited, context.image_volumes)
    fields: Json = {
        "AutoRemove": context.auto_remove,
        "Annotations": service.annotations,
        "Binds": binds,
        "Mounts": mounted,
        "CapAdd": [_capability(name) for name in service.cap_add],
        "CapDrop": [_capability(name) for name in service.cap_drop],
        "NetworkMode": _network_mode(project, service),
        "Init": service.init,
        "IpcMode": service.ipc,
        "CgroupnsMode": service.cgroup,
        "ReadonlyRootfs": service.read_only,
        "RestartPolicy": restart_policy(service),
        "ShmSize": int(service.shm_size or 0),
        "Sysctls": service.sysctls,
        "PortBindings": _bindings(service),
        "VolumeDriver": service.volume_driver,
        "VolumesFrom": list(context.volumes_from),
        "Dns": service.dns,
        "DnsSearch": service.dns_search,
        "DnsOptions": service.dns_opt,
        "ExtraHosts": [_extra_host(word) for word in service.extra_hosts],
        "StorageOpt": service.storage_opt,
        "UsernsMode": service.userns_mode,
        "UTSMode": service.uts,
        "Privileged": service.privileged,
        "PidMode": service.pid,
        "Tmpfs": {target: options for target, _, options in (word.partition(":") for word in service.tmpfs)},
        "Isolation": service.isolation,
        "Runtime": service.runtime,
        "LogConfig": _log_config(service),
        "GroupAdd": service.group_add,
        "Links": list(context.links),
        "OomScoreAdj": service.oom_score_adj,
        **_security(service),
        **limits(service),
    }
    given = {name: value for name, value in fields.items() if value not in ("", None, [], {})}
    return {"ExtraHosts": [], "PortBindings": {}, **given}  # Docker's compose sends these two also if they are empty.


def _log_config(service: ComposeService) -> Json:
    if service.logging is None:
        return {}
    return {"Type": service.logging.driver, "Config": service.logging.options}


def _security(service: ComposeService) -> Json:
    kept = [word for word in service.security_opt if word != "systempaths=unconfined"]
    if len(kept) == len(service.security_opt):
        return {"SecurityOpt": kept}
    return {"SecurityOpt": kept, "MaskedPaths": (), "ReadonlyPaths": ()}


def _capability(name: str) -> str:
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def _extra_host(word: str) -> str:
    name, _, address = word.partition("=")
    return f"{name}:{address}"


def _bindings(service: ComposeService) -> Json:
    found: dict[str, list[Json]] = {}
    for port in service.ports:
        target = f"{port.target}/{port.protocol or 'tcp'}"
        found.setdefault(target, []).append({"HostIp": port.host_ip, "HostPort": port.published})
    return found


def _network_mode(project: ComposeProject, service: ComposeService) -> str:
    if service.network_mode:
        return service.network_mode
    if not project.networks:
        return "none"
    keys = service.networks_by_priority() or ["default"]
    return project.networks[keys[0]].name


def _endpoints(project: ComposeProject, key: str, service: ComposeService, name: str, context: CreationContext) -> Json:
    keys = service.networks_by_priority() or ["default"]
    found = {}
    for network in keys:
        aliases = [name, key] if context.aliases else [name]
        endpoint = _endpoint(service.networks.get(network), aliases, context)
        if network == keys[0] and service.mac_address:
            endpoint.setdefault("MacAddress", service.mac_address)
        found[project.networks[network].name] = endpoint
    return found


def _endpoint(wanted: ServiceNetwork | None, aliases: Iterable[str], context: CreationContext) -> Json:
    endpoint: Json = {"Aliases": list(aliases)}
    if context.links:
        endpoint["Links"] = list(context.links)
    if wanted is None:
        return endpoint
    if context.aliases:
        endpoint["Aliases"] += wanted.aliases
    addresses = {
        "IPv4Address": wanted.ipv4_address,
        "IPv6Address": wanted.ipv6_address,
        "LinkLocalIPs": wanted.link_local_ips,
    }
    endpoint["IPAMConfig"] = {name: value for name, value in addresses.items() if value}
    fields: Json = {
        "IPAddress": wanted.ipv4_address,
        "MacAddress": wanted.mac_address,
        "DriverOpts": wanted.driver_opts,
        "GwPriority": wanted.gw_priority,
    }
    return endpoint | {name: value for name, value in fields.items() if value}
