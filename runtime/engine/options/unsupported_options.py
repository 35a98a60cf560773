"""Rejects options of Docker that are not implemented, by name, so that none is silently ignored.  Pure.

A field is rejected unless it has a value that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netd.common.errors import BadRequest, NotImplementedYet
from runtime.container_config import Config, HostConfig

_FIELDS: Mapping[str, tuple[str, Callable[[HostConfig], object]]] = {
    "Cgroup": ("the cgroup of another container", lambda h: h.cgroup),
    "DeviceRequests": ("--gpus", lambda h: h.device_requests),
}
_USERNS_MODES = ("", "host", "auto")
_RUNTIMES = ("", "runc", "netd", "io.containerd.runc.v2")


def check(config: Config, host: HostConfig) -> None:
    """Raise NotImplementedYet or BadRequest, which names the field, for an option that would be ignored."""
    if host.isolation not in ("", "default"):
        raise BadRequest(
            f"invalid isolation '{host.isolation}': process and hyperv isolation need a Windows host; leave"
            " --isolation out"
        )
    if host.userns_mode not in _USERNS_MODES:
        raise BadRequest(f"invalid USER mode: {host.userns_mode}: use auto or host")
    if host.runtime not in _RUNTIMES:
        raise BadRequest(f"unknown or invalid runtime name: {host.runtime}")
    if host.volume_driver not in ("", "local"):
        raise BadRequest(f"volume driver '{host.volume_driver}' is not supported; use local")
    for name, (option, is_set) in _FIELDS.items():
        if is_set(host):
            raise NotImplementedYet(
                f"HostConfig.{name} ({option}) is not implemented by netd-runtime yet; leave it out"
            )
