"""What privileges a container's processes get.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from netd.common.errors import BadRequest, NotImplementedYet
from runtime.container_config import HostConfig
from runtime.kernel import capabilities, seccomp

_HARMLESS = ("apparmor", "label")
"""Of kernels without AppArmor and SELinux; asking to be unconfined by them changes nothing."""


@dataclass(frozen=True, slots=True)
class Privileges:
    capabilities: int
    no_new_privileges: bool
    seccomp: bytes


def privileges(host: HostConfig, *, privileged: bool | None = None) -> Privileges:
    """Return the privileges of a container's process, or of an exec that asks for more by *privileged*."""
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
                "seccomp profiles of one's own are not implemented by netd-runtime yet; use seccomp=unconfined or leave"
                " the option out"
            )
        elif not (key in _HARMLESS and value in ("unconfined", "disable")):
            raise BadRequest(f"invalid --security-opt {text!r}: use no-new-privileges or seccomp=unconfined")
    return no_new, confined
