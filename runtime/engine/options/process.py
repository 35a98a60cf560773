"""Builds the process specs of a container's program and of its execs.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netd.common.errors import BadRequest
from runtime.container_config import Config, HostConfig
from runtime.engine.options import resources
from runtime.engine.options.security import privileges
from runtime.init import users
from runtime.record import ContainerRecord, ExecConfig
from runtime.spec import Process

_UMASK = 0o022
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(defaults: Iterable[str], entries: Iterable[str]) -> tuple[str, ...]:
    """Return *defaults* overridden by *entries*: the last entry of a name wins, a name without ``=`` removes it."""
    variables: dict[str, str] = {}
    for entry in (*defaults, *entries):
        name, equals, value = entry.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    return tuple(f"{name}={value}" for name, value in variables.items())


def check(config: Config, argv: Sequence[str]) -> None:
    """Raise BadRequest for a missing command, a relative working directory, or text that execve cannot take."""
    if not argv:
        raise BadRequest("no command specified: the image has none, so name one")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise BadRequest(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    check_strings("command", argv)
    check_environment(config.env or ())


def check_environment(entries: Iterable[str]) -> None:
    for entry in entries:
        if not entry or entry.startswith("="):
            raise BadRequest(f"invalid environment variable: {entry}")
    check_strings("environment variable", entries)


def check_user(user: str, group_add: Iterable[str] = ()) -> None:
    """Raise BadRequest for a user that is neither a valid name nor a valid number; reads no files of the image."""
    check_strings("user", (user, *group_add))
    try:
        users.check(user, tuple(group_add))
    except users.UnknownUser as problem:
        raise BadRequest(str(problem)) from None


def check_strings(what: str, texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise BadRequest(f"the {what} {text!r} holds a NUL character")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRequest(f"the {what} {text!r} is not valid text") from None


def main_process(record: ContainerRecord, hostname: str, links: Sequence[str] = ()) -> Process:
    """Return the spec of the container's main process; *links* are variables that those of the record override."""
    config, host = record.config, record.host
    granted = privileges(host)
    return Process(
        argv=tuple(record.argv),
        env=environment([*_defaults(hostname, config.tty), *links], config.env or ()),
        cwd=config.working_dir or "/",
        user=config.user,
        group_add=tuple(host.group_add or ()),
        capabilities=granted.capabilities,
        no_new_privileges=granted.no_new_privileges,
        seccomp=granted.seccomp,
        rlimits=resources.rlimits(host.ulimits),
        tty=config.tty,
        console_size=console_size(host.console_size),
        stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        oom_score_adj=host.oom_score_adj,
        umask=umask(host),
        root=record.userns.first if record.userns else 0,
    )


def exec_process(record: ContainerRecord, request: ExecConfig, hostname: str, links: Sequence[str] = ()) -> Process:
    """Return the spec of an exec's process; *links* as in :func:`main_process`."""
    config = record.config
    granted = privileges(record.host, privileged=request.privileged)
    inherited = environment([*_defaults(hostname, request.tty), *links], config.env or ())
    return Process(
        argv=tuple(request.cmd or ()),
        env=environment(inherited, request.env or ()),
        cwd=request.working_dir or config.working_dir or "/",
        user=request.user or config.user,
        group_add=tuple(record.host.group_add or ()),
        capabilities=granted.capabilities,
        no_new_privileges=granted.no_new_privileges,
        seccomp=granted.seccomp,
        rlimits=resources.rlimits(record.host.ulimits),
        tty=request.tty,
        console_size=console_size(request.console_size),
        stdin=request.attach_stdin,
        stdin_once=True,
        oom_score_adj=record.host.oom_score_adj,
        umask=umask(record.host),
        root=record.userns.first if record.userns else 0,
    )


def umask(host: HostConfig) -> int:
    """Return the umask of the container's processes.  Raises BadRequest."""
    if host.umask is None:
        return _UMASK
    if not 0 <= host.umask <= 0o777:
        raise BadRequest(f"invalid Umask {host.umask}: use 0 to 511, in decimal; 18 is 0022 in octal")
    return host.umask


def console_size(size: Sequence[int] | None) -> tuple[int, int] | None:
    """Return (rows, columns) if both are given and not zero."""
    return (size[0], size[1]) if size and len(size) == 2 and all(size) else None


def _defaults(hostname: str, tty: bool) -> list[str]:
    return [_PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if tty else [])]
