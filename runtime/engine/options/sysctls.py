"""Sysctls that a container may set: netd sets those of its own network, the first process all others.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from netd.common.errors import BadRequest

_PART = re.compile(r"[A-Za-z0-9_-]+\Z")
_IPC = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    }
)
_PER_INTERFACE = re.compile(r"net\.[a-z0-9]+\.[a-z]+\.eth\d+\.")
_NETWORK_DEFAULTS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


def split(
    requested: Mapping[str, str] | None,
    *,
    own_network: bool,
    own_ipc: bool,
    own_uts: bool,
    joined_network: bool = False,
) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """Return (sysctls of the network, all others).  Raises BadRequest for sysctls that would affect the host.

    Those of the network of another container are among the others, as in Docker: the first process sets them.  In a
    network namespace of its own, a container may bind every port and ping as any user, as in Docker.
    """
    network = dict(_NETWORK_DEFAULTS) if own_network else {}
    others = []
    for key, value in (requested or {}).items():
        _check(key, value, own_network=own_network or joined_network, own_ipc=own_ipc, own_uts=own_uts)
        if key.startswith("net.") and own_network:
            network[key] = value
        else:
            others.append((key, value))
    return network, tuple(others)


def of_network(requested: Mapping[str, str] | None) -> list[str]:
    """Return the names of the sysctls of a network namespace among those that a container asks for."""
    return [key for key in requested or () if _namespace(key) == "network"]


def _check(key: str, value: str, *, own_network: bool, own_ipc: bool, own_uts: bool) -> None:
    if not all(_PART.match(part) for part in key.split(".")) or "\n" in value or "\0" in value:
        raise BadRequest(f"sysctl {key!r} is not a valid name and value")
    if _PER_INTERFACE.match(key):
        raise BadRequest(
            f'interface specific sysctl setting "{key}" must be supplied using driver option'
            " 'com.docker.network.endpoint.sysctls'"
        )
    namespace = _namespace(key)
    has_own = {"network": own_network, "ipc": own_ipc, "uts": own_uts}
    if namespace is None:
        raise BadRequest(f"sysctl '{key}' is not allowed: it would change the host")
    if not has_own[namespace]:
        raise BadRequest(f"sysctl '{key}' is not allowed in the host's {namespace} namespace")


def _namespace(key: str) -> str | None:
    if key.startswith("net."):
        return "network"
    if key in _IPC or key.startswith("fs.mqueue."):
        return "ipc"
    return "uts" if key == "kernel.domainname" else None
