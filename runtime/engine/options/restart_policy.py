"""Decides whether and when an exited container is restarted.  Pure: the caller measures the time."""

from __future__ import annotations

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig, RestartPolicy, joined_container, split_link

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 60.0
_RESET_AFTER = 10.0
_NAMES = ("", "no", "always", "unless-stopped", "on-failure")


def check(host: HostConfig) -> None:
    """Raise BadRequest for an invalid restart policy."""
    policy = host.restart_policy
    if policy.name not in _NAMES:
        raise BadRequest(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', 'on-failure', or"
            " 'unless-stopped'"
        )
    if policy.maximum_retry_count < 0:
        raise BadRequest("invalid restart policy: maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise BadRequest("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if host.auto_remove and policy.name not in ("", "no"):
        raise BadRequest("can't create 'AutoRemove' container with restart policy")


def should_restart(policy: RestartPolicy, *, code: int, restarts: int, stopped: bool) -> bool:
    """Return whether a container that just exited is restarted; *stopped*: it was stopped on request."""
    if stopped:
        return False
    if policy.name == "on-failure":
        limit = policy.maximum_retry_count
        return code != 0 and (not limit or restarts < limit)
    return policy.name in ("always", "unless-stopped")


def should_restart_after_daemon_start(policy: RestartPolicy, *, code: int, restarts: int, stopped: bool) -> bool:
    """Do what :func:`should_restart` does, for an exit while the daemon was down; ``always`` then ignores *stopped*."""
    return policy.name == "always" or should_restart(policy, code=code, restarts=restarts, stopped=stopped)


def dependencies(host: HostConfig) -> list[str]:
    """Return names or ids of the containers to start first: donors of namespaces and volumes, targets of links."""
    donors = (joined_container(mode) for mode in (host.network_mode, host.pid_mode, host.ipc_mode))
    linked = (split_link(text)[0] for text in host.links or ())
    volumes = (text.partition(":")[0] for text in host.volumes_from or ())
    return [name for name in (*donors, *linked, *volumes) if name]


def next_delay(last: float, runtime: float) -> float:
    """Return the delay before the next restart, given the last delay and the program's run time, all in seconds."""
    if runtime >= _RESET_AFTER or not last:
        return _FIRST_DELAY
    return min(last * 2, _LONGEST_DELAY)
