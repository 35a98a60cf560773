"""Validates a whole create request before anything is created.  Pure.

Most rules are in the modules that translate a value; this module calls each of them once, so that create rejects
everything that start would reject.
"""

from __future__ import annotations

from collections.abc import Mapping

from netd.api import EndpointSettings
from netd.common.errors import BadRequest
from runtime import signal_numbers
from runtime.container_config import Config, Healthcheck, HostConfig, joined_container, str_list
from runtime.engine.options import (
    links,
    log_options,
    networking,
    process,
    resources,
    restart_policy,
    runtime_spec,
    security,
    sysctls,
    unsupported_options,
)
from runtime.kernel.host_support import HostSupport

_PID_MODES = ("", "private", "host")
_IPC_MODES = ("", "none", "private", "shareable", "host")
_MILLISECOND = 10**6


def check(
    config: Config, host: HostConfig, endpoints: Mapping[str, EndpointSettings], cpus: int, support: HostSupport
) -> None:
    """Raise BadRequest with Docker's messages, or NotImplementedYet; *config* includes the image's defaults."""
    unsupported_options.check(config, host)
    process.check(config, [*(str_list(config.entrypoint) or ()), *(str_list(config.cmd) or ())])
    process.check_user(config.user, host.group_add or ())
    process.umask(host)
    if config.stop_signal:
        signal_numbers.number(config.stop_signal)
    restart_policy.check(host)
    _check_namespaces(config, host)
    networking.check(config, host, endpoints)
    links.check(host)
    resources.limits(host, cpus, support.memory_nodes)
    resources.rlimits(host.ulimits)
    security.check(host, support)
    security.privileges(host)
    sysctls.split(
        host.sysctls,
        own_network=networking.owns_network(host),
        own_ipc=host.ipc_mode in ("", "none", "private", "shareable"),
        own_uts=runtime_spec.owns_uts(host),
        joined_network=networking.shares_network(host),
    )
    runtime_spec.devices(host)
    log_options.check(host)
    runtime_spec.cgroup_parent(host)
    if config.healthcheck:
        _check_health(config.healthcheck)


def _check_namespaces(config: Config, host: HostConfig) -> None:
    if host.annotations and "" in host.annotations:
        raise BadRequest("invalid Annotations: the empty string is not permitted as an annotation key")
    if host.cgroupns_mode not in ("", "private", "host"):
        raise BadRequest(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.uts_mode not in ("", "host"):
        raise BadRequest(f"invalid UTS mode: {host.uts_mode}")
    if host.uts_mode == "host" and config.hostname:
        raise BadRequest("conflicting options: hostname and the UTS mode")
    if host.pid_mode not in _PID_MODES and not joined_container(host.pid_mode):
        raise BadRequest(f"invalid PID mode: {host.pid_mode}")
    if host.ipc_mode not in _IPC_MODES and not joined_container(host.ipc_mode):
        raise BadRequest(f"invalid IPC mode: {host.ipc_mode}")
    if host.init and host.pid_mode not in ("", "private"):
        raise BadRequest("--init needs a PID namespace of the container's own: leave --pid out")


def _check_health(check: Healthcheck) -> None:
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise BadRequest(f"unknown type {check.test[0]!r} in healthcheck: use NONE, CMD or CMD-SHELL")
    times = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    for name, value in times.items():
        if value < 0 or 0 < value < _MILLISECOND:
            raise BadRequest(f"{name} in Healthcheck cannot be less than one millisecond")
    if check.retries < 0:
        raise BadRequest("Retries in Healthcheck cannot be negative")
