"""The canonical document: Docker's field names and types, as ``docker compose config --format json`` prints them.

Pure.  Fields with default values are left out; sizes are bytes as text, durations are in Go's form.
"""

from __future__ import annotations

from typing import Any

from netd.compose.files import field_types as t
from netd.compose.files.field_types import FieldError, each, mapping, record
from netd.compose.files.quantities import duration, mode, mode_number
from netd.compose.files.quantities import size as size_or_zero
from netd.compose.reading.positions import Positions

Json = dict[str, Any]


def _gpus(value: Any) -> Any:
    return [{"count": -1}] if value == "all" else t.anything(value)


def size(value: Any) -> Any:
    """Return a size in bytes as text; 0 is left out."""
    found = size_or_zero(value)
    return None if found == "0" else found


def _ulimit(value: Any) -> Any:
    return record({"soft": t.integer, "hard": t.integer})(value) if isinstance(value, dict) else t.integer(value)


def _renamed(rename: dict[str, str], fields: dict[str, t.Convert]) -> t.Convert:
    plain = record(fields)
    return lambda value: {rename[key]: entry for key, entry in plain(value).items()}


_RATE = each(_renamed({"path": "Path", "rate": "Rate"}, {"path": t.text, "rate": size}))
_DEVICE_REQUEST = record(
    {"capabilities": t.texts, "driver": t.text, "count": t.anything, "device_ids": t.texts, "options": t.pairs}
)
_RESOURCE = record(
    {
        "cpus": t.real,
        "memory": size,
        "pids": t.number,
        "devices": each(_DEVICE_REQUEST),
        "generic_resources": t.anything,
    }
)
_UPDATE = record(
    {"parallelism": t.integer, "delay": duration, "failure_action": t.text, "monitor": duration,
     "max_failure_ratio": t.real, "order": t.text}
)  # fmt: skip
_FILE_MOUNT = {"source": t.text, "target": t.text, "uid": t.text, "gid": t.text, "mode": mode}
_HOOK = record(
    {"command": t.command, "user": t.text, "privileged": t.truth, "working_dir": t.text, "environment": t.variables}
)
_WATCH = record(
    {"path": t.text, "action": t.text, "target": t.text, "exec": _HOOK, "include": t.texts, "ignore": t.texts,
     "initial_sync": t.truth}
)  # fmt: skip


def _watch(value: Any) -> Any:
    return {**_WATCH(value), "exec": {"command": None, **_WATCH(value).get("exec", {})}}


_BUILD = record(
    {
        "context": t.text, "dockerfile": t.text, "dockerfile_inline": t.text, "entitlements": t.texts,
        "args": t.variables, "provenance": t.text, "sbom": t.text, "ssh": t.texts, "labels": t.pairs,
        "cache_from": t.texts, "cache_to": t.texts, "no_cache": t.truth, "additional_contexts": t.pairs,
        "pull": t.truth, "extra_hosts": t.hosts, "isolation": t.text, "network": t.text, "target": t.text,
        "secrets": each(record(_FILE_MOUNT)), "shm_size": size, "tags": t.texts, "ulimits": mapping(_ulimit),
        "platforms": t.texts, "privileged": t.truth,
    }
)  # fmt: skip
_DEPLOY = record(
    {
        "mode": t.text, "replicas": t.integer, "labels": t.pairs, "update_config": _UPDATE, "rollback_config": _UPDATE,
        "resources": record({"limits": _RESOURCE, "reservations": _RESOURCE}),
        "restart_policy": record(
            {"condition": t.text, "delay": duration, "max_attempts": t.integer, "window": duration}
        ),
        "placement": record(
            {"constraints": t.texts, "preferences": t.anything, "max_replicas_per_node": t.number}
        ),
        "endpoint_mode": t.text,
    }
)  # fmt: skip
_HEALTHCHECK = record(
    {"test": t.health_test, "timeout": duration, "interval": duration, "retries": t.integer, "start_period": duration,
     "start_interval": duration, "disable": t.truth}
)  # fmt: skip
_SERVICE_NETWORK = record(
    {
        "aliases": t.texts, "driver_opts": t.pairs, "gw_priority": t.number, "interface_name": t.text,
        "ipv4_address": t.text, "ipv6_address": t.text, "link_local_ips": t.texts, "mac_address": t.text,
        "priority": t.number,
    }
)  # fmt: skip
_PORT = record(
    {"name": t.text, "mode": t.text, "host_ip": t.text, "target": t.integer, "published": t.text, "protocol": t.text,
     "app_protocol": t.text}
)  # fmt: skip
_VOLUME = record(
    {
        "type": t.text, "source": t.text, "target": t.text, "read_only": t.truth, "consistency": t.text,
        "bind": record({"selinux": t.text, "propagation": t.text, "create_host_path": t.truth, "recursive": t.text}),
        "volume": record({"labels": t.pairs, "nocopy": t.truth, "subpath": t.text}),
        "tmpfs": record({"size": size, "mode": mode_number}), "image": record({"subpath": t.text}),
    }
)  # fmt: skip
_DEPENDENCY = record({"condition": t.text, "restart": t.truth, "required": t.either})
_SERVICE: dict[str, t.Convert] = {
    "profiles": t.texts, "annotations": t.pairs, "attach": t.either, "build": _BUILD,
    "blkio_config": record({"weight": t.number,
        "weight_device": each(_renamed({"path": "Path", "weight": "Weight"}, {"path": t.text, "weight": t.integer})),
        "device_read_bps": _RATE, "device_read_iops": _RATE, "device_write_bps": _RATE, "device_write_iops": _RATE}),
    "cap_add": t.texts, "cap_drop": t.texts, "cgroup_parent": t.text, "cgroup": t.text, "cpu_count": t.number,
    "cpu_percent": t.real, "cpu_period": t.number, "cpu_quota": t.number, "cpu_rt_period": t.number,
    "cpu_rt_runtime": t.number, "cpus": t.real, "cpuset": t.text, "cpu_shares": t.number, "command": t.command,
    "configs": each(record(_FILE_MOUNT)), "container_name": t.text, "credential_spec": t.anything,
    "depends_on": mapping(_DEPENDENCY), "deploy": _DEPLOY, "develop": record({"watch": each(_watch)}),
    "device_cgroup_rules": t.texts,
    "devices": each(record({"source": t.text, "target": t.text, "permissions": t.text})), "dns": t.texts,
    "dns_opt": t.texts, "dns_search": t.texts, "domainname": t.text, "entrypoint": t.command,
    "environment": t.variables, "env_file": t.anything, "expose": t.texts, "external_links": t.texts,
    "extra_hosts": t.hosts, "group_add": t.texts, "gpus": _gpus, "hostname": t.text, "healthcheck": _HEALTHCHECK,
    "image": t.text, "init": t.either, "ipc": t.text, "isolation": t.text, "labels": t.pairs, "label_file": t.texts,
    "links": t.texts, "logging": record({"driver": t.text, "options": t.pairs}), "mem_limit": size,
    "mem_reservation": size, "memswap_limit": size, "mem_swappiness": size, "mac_address": t.text, "models": t.anything,
    "network_mode": t.text, "networks": mapping(_SERVICE_NETWORK, nulls=True), "oom_kill_disable": t.truth,
    "oom_score_adj": t.number, "pid": t.text, "pids_limit": t.number, "platform": t.text, "ports": each(_PORT),
    "privileged": t.truth, "provider": t.anything, "pull_policy": t.text, "read_only": t.truth, "restart": t.text,
    "runtime": t.text, "scale": t.integer, "secrets": each(record(_FILE_MOUNT)), "security_opt": t.texts,
    "shm_size": size, "stdin_open": t.truth, "stop_grace_period": duration, "stop_signal": t.text,
    "storage_opt": t.pairs, "sysctls": t.pairs, "tmpfs": t.texts, "tty": t.truth, "ulimits": mapping(_ulimit),
    "use_api_socket": t.truth, "user": t.text, "userns_mode": t.text, "uts": t.text, "volumes": each(_VOLUME),
    "volumes_from": t.texts, "working_dir": t.text, "post_start": each(_HOOK), "pre_stop": each(_HOOK),
}  # fmt: skip
_IPAM = record(
    {"driver": t.text, "config": each(record(
        {"subnet": t.text, "gateway": t.text, "ip_range": t.text, "aux_addresses": t.pairs}))}
)  # fmt: skip
_NETWORK: dict[str, t.Convert] = {
    "name": t.text, "driver": t.text, "driver_opts": t.pairs, "ipam": _IPAM, "external": t.truth, "internal": t.truth,
    "attachable": t.truth, "labels": t.pairs, "enable_ipv4": t.either, "enable_ipv6": t.either,
}  # fmt: skip
_VOLUME_OBJECT: dict[str, t.Convert] = {
    "name": t.text, "driver": t.text, "driver_opts": t.pairs, "external": t.truth, "labels": t.pairs,
}  # fmt: skip
_FILE_OBJECT: dict[str, t.Convert] = {
    "name": t.text, "file": t.text, "environment": t.text, "content": t.text, "external": t.truth, "labels": t.pairs,
    "driver": t.text, "driver_opts": t.pairs, "template_driver": t.text,
}  # fmt: skip
SECTIONS: dict[str, dict[str, t.Convert]] = {
    "services": _SERVICE,
    "networks": _NETWORK,
    "volumes": _VOLUME_OBJECT,
    "secrets": _FILE_OBJECT,
    "configs": _FILE_OBJECT,
}


def render(document: Json, positions: Positions) -> Json:
    """Return the canonical document.  Raises ComposeError at a value that cannot be converted."""
    found: Json = {"name": document["name"]}
    for section, fields in SECTIONS.items():
        entries = {
            name: _entry(section, name, value or {}, fields, positions)
            for name, value in sorted((document.get(section) or {}).items())
        }
        if entries or section == "services":
            found[section] = entries
    found.update({key: value for key, value in document.items() if key.startswith("x-")})
    return found


def _entry(section: str, name: str, value: Json, fields: dict[str, t.Convert], positions: Positions) -> Json:
    try:
        converted: Json = record(fields)(value)
    except FieldError as error:
        where = tuple(int(key) if key.isdigit() else key for key in error.where.split("."))
        raise positions.error((section, name, *where), error.reason) from None
    if section == "services":
        _complete_deploy(converted)
        converted.setdefault("command", None)
        converted.setdefault("entrypoint", None)
    if section == "networks":
        converted.setdefault("ipam", {})
    return converted


def _complete_deploy(service: Json) -> None:
    """Add the fields of ``deploy`` that are never left out, and the number of replicas that ``scale`` sets."""
    deploy = service.get("deploy")
    if deploy is not None:
        deploy.setdefault("resources", {})
        deploy.setdefault("placement", {})
        if "scale" in service:
            deploy.setdefault("replicas", service["scale"])


def escaped(value: Any) -> Any:
    """Return *value* with ``$`` as ``$$`` in all texts, as a compose file needs it that is read again."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(entry) for entry in value]
    if isinstance(value, dict):
        return {key.replace("$", "$$"): escaped(entry) for key, entry in value.items()}
    return value
