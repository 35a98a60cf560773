"""Privileges of a container's processes: capabilities, no_new_privs and seccomp.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from netd.common.errors import BadRequest, NotImplementedYet
from runtime.container_config import HostConfig
from runtime.kernel import capabilities, seccomp

_IGNORED_KEYS = ("apparmor", "label")
"""Options without effect: the runtime sets no AppArmor profile and no SELinux label."""


@dataclass(frozen=True, slots=True)
class Privileges:
    capabilities: int
    no_new_privileges: bool
    seccomp: bytes


def privileges(host: HostConfig, *, privileged: bool | None = None) -> Privileges:
    """Return the privileges of a container's process, or those of an exec with its own *privileged* flag."""
    no_new, confined = _options(host.security_opt or ())
    full = host.privileged if privileged is None else privileged or host.privileged
    try:
        mask = capabilities.resolve(host.cap_add or (), host.cap_drop or (), privileged=full)
        program = seccomp.default_program(mask) if confined and not full else b""
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return Privileges(mask, no_new, program)


def _options(texts: tuple[str, ...] | list[str]) -> tuple[bool, bool]:
    no_new, confined = False, True
    for text in texts:
        key, _, value = text.replace(":", "=", 1).partition("=")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            no_new = value != "false"
        elif key == "seccomp" and value in ("unconfined", "builtin"):
            confined = value != "unconfined"
        elif key == "seccomp":
            raise NotImplementedYet(
                "custom seccomp profiles are not implemented by netd-runtime yet; use seccomp=unconfined or leave"
                " the option out"
            )
        elif not (key in _IGNORED_KEYS and value in ("unconfined", "disable")):
            raise BadRequest(f"invalid --security-opt {text!r}: use no-new-privileges or seccomp=unconfined")
    return no_new, confined
