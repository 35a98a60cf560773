"""Whether and when a container that ended is started again.  Pure: the caller has the clock."""

from __future__ import annotations

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig, RestartPolicy

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 60.0
_STEADY = 10.0
_NAMES = ("", "no", "always", "unless-stopped", "on-failure")


def check(host: HostConfig) -> None:
    """Raise BadRequest when the restart policy cannot be followed."""
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


def wants_restart(policy: RestartPolicy, *, code: int, restarts: int, stopped: bool) -> bool:
    """Tell whether a container that just ended is to run again; *stopped*: somebody asked it to stop."""
    if stopped:
        return False
    if policy.name == "on-failure":
        most = policy.maximum_retry_count
        return code != 0 and (not most or restarts < most)
    return policy.name in ("always", "unless-stopped")


def wants_start(policy: RestartPolicy, *, code: int, restarts: int, stopped: bool) -> bool:
    """Tell the same for a container that is found ended when the daemon starts: ``always`` means always then."""
    return policy.name == "always" or wants_restart(policy, code=code, restarts=restarts, stopped=stopped)


def next_delay(last: float, lasted: float) -> float:
    """Return the seconds to wait before the next restart, given the last wait and how long the program then ran."""
    if lasted >= _STEADY or not last:
        return _FIRST_DELAY
    return min(last * 2, _LONGEST_DELAY)
