"""Privileges of a container's processes: capabilities, no_new_privs, seccomp, hidden and protected paths.  Pure."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from netd.common.errors import BadRequest
from runtime.container_config import HostConfig
from runtime.engine.options import seccomp_profile
from runtime.kernel import capabilities, seccomp
from runtime.kernel.host_support import MASKED_PATHS, READ_ONLY_PATHS, HostSupport

_BOOLEANS = ("", "true", "false")


@dataclass(frozen=True, slots=True)
class Privileges:
    capabilities: int
    no_new_privileges: bool
    seccomp: bytes


@dataclass(slots=True)
class _SecurityOptions:
    """The values of ``--security-opt``; a later one replaces an earlier one."""

    no_new_privileges: bool = False
    writable_cgroups: bool = False
    seccomp: str = ""
    """``unconfined``, a profile as JSON, or empty for the default profile."""
    apparmor: str = ""
    labels: tuple[str, ...] = ()


def privileges(host: HostConfig, *, privileged: bool | None = None) -> Privileges:
    """Return the privileges of a container's process, or those of an exec with its own *privileged* flag."""
    options = _read(host)
    full = host.privileged if privileged is None else privileged or host.privileged
    try:
        mask = capabilities.resolve(host.cap_add or (), host.cap_drop or (), privileged=full)
        program = b"" if full else _program(options.seccomp, mask)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return Privileges(mask, options.no_new_privileges, program)


def _program(profile: str, mask: int) -> bytes:
    if profile == "unconfined":
        return b""
    if not profile:
        return seccomp.default_program(mask)
    return seccomp_profile.program(profile, mask, platform.machine(), platform.release())


def check(host: HostConfig, support: HostSupport) -> None:
    """Raise BadRequest for an unknown option, and for a profile or label that this host would enforce.

    The runtime sets neither AppArmor profiles nor SELinux labels, so they change nothing on hosts without these.
    """
    options = _read(host)
    if support.apparmor and options.apparmor not in ("", "unconfined"):
        raise BadRequest(
            f"the AppArmor profile {options.apparmor!r} cannot be applied by netd-runtime: use apparmor=unconfined"
        )
    if support.selinux and any(label != "disable" for label in options.labels):
        raise BadRequest("SELinux labels cannot be applied by netd-runtime: use label=disable")
    for path in (*(host.masked_paths or ()), *(host.readonly_paths or ())):
        if not path.startswith("/") or ".." in path.split("/") or path.strip("/") == "":
            raise BadRequest(f"invalid path {path!r} in MaskedPaths or ReadonlyPaths: use an absolute path")


def apparmor_profile(host: HostConfig) -> str:
    """Return the profile that inspect shows."""
    return _read(host).apparmor


def with_implied(host: HostConfig) -> list[str] | None:
    """Return the security options with the one that Docker adds to containers that share namespaces of the host."""
    if host.privileged or "host" in (host.pid_mode, host.ipc_mode):
        return [*(host.security_opt or ()), "label=disable"]
    return host.security_opt


def has_writable_cgroups(host: HostConfig) -> bool:
    return _read(host).writable_cgroups


def system_paths(host: HostConfig) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the paths to hide and to protect; (None, None) for the defaults, and for privileged containers."""
    masked = MASKED_PATHS if host.masked_paths is None else tuple(host.masked_paths)
    read_only = READ_ONLY_PATHS if host.readonly_paths is None else tuple(host.readonly_paths)
    if host.privileged or (masked, read_only) == (MASKED_PATHS, READ_ONLY_PATHS):
        return None, None
    return masked, read_only


def _read(host: HostConfig) -> _SecurityOptions:
    options = _SecurityOptions()
    for text in host.security_opt or ():
        key, _, value = text.partition("=") if "=" in text else text.partition(":")
        _set(options, text, key, value)
    return options


def _set(options: _SecurityOptions, text: str, key: str, value: str) -> None:
    if key == "no-new-privileges" and value in _BOOLEANS:
        options.no_new_privileges = value != "false"
    elif key == "writable-cgroups" and value in _BOOLEANS:
        options.writable_cgroups = value != "false"
    elif key == "seccomp" and value:
        options.seccomp = "" if value == "builtin" else value
    elif key == "apparmor" and value:
        options.apparmor = value
    elif key == "label" and value:
        options.labels = (*options.labels, value)
    else:
        raise BadRequest(
            f"invalid --security-opt {text[:80]!r}: use no-new-privileges, seccomp, apparmor, label or writable-cgroups"
        )
