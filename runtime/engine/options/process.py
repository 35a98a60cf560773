"""The programs that containers run, put as the shim takes them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netd.common.errors import BadRequest
from runtime.container_config import Config
from runtime.engine.options import resources
from runtime.engine.options.security import privileges
from runtime.init import users
from runtime.record import ContainerRecord, ExecConfig
from runtime.spec import Process

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(defaults: Iterable[str], asked: Iterable[str]) -> tuple[str, ...]:
    """Return *defaults* overridden by *asked*: the last one wins, a name alone takes a default away."""
    found: dict[str, str] = {}
    for entry in (*defaults, *asked):
        name, equals, value = entry.partition("=")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    return tuple(f"{name}={value}" for name, value in found.items())


def check(config: Config, argv: Sequence[str]) -> None:
    """Raise BadRequest for a program that can never be run."""
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
    """Raise BadRequest for what can be neither a name nor a number, whatever the image's files say."""
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


def first(record: ContainerRecord, hostname: str) -> Process:
    """Return the container's own program."""
    config, host = record.config, record.host
    granted = privileges(host)
    return Process(
        argv=tuple(record.argv),
        env=environment(_defaults(hostname, config.tty), config.env or ()),
        cwd=config.working_dir or "/",
        user=config.user,
        group_add=tuple(host.group_add or ()),
        capabilities=granted.capabilities,
        no_new_privileges=granted.no_new_privileges,
        seccomp=granted.seccomp,
        rlimits=resources.rlimits(host.ulimits),
        tty=config.tty,
        console_size=size(host.console_size),
        stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        oom_score_adj=host.oom_score_adj,
        root=record.userns.first if record.userns else 0,
    )


def further(record: ContainerRecord, asked: ExecConfig, hostname: str) -> Process:
    """Return the program of an exec."""
    config = record.config
    granted = privileges(record.host, privileged=asked.privileged)
    inherited = environment(_defaults(hostname, asked.tty), config.env or ())
    return Process(
        argv=tuple(asked.cmd or ()),
        env=environment(inherited, asked.env or ()),
        cwd=asked.working_dir or config.working_dir or "/",
        user=asked.user or config.user,
        group_add=tuple(record.host.group_add or ()),
        capabilities=granted.capabilities,
        no_new_privileges=granted.no_new_privileges,
        seccomp=granted.seccomp,
        rlimits=resources.rlimits(record.host.ulimits),
        tty=asked.tty,
        console_size=size(asked.console_size),
        stdin=asked.attach_stdin,
        stdin_once=True,
        oom_score_adj=record.host.oom_score_adj,
        root=record.userns.first if record.userns else 0,
    )


def size(given: Sequence[int] | None) -> tuple[int, int] | None:
    """Return (rows, columns) when both are given and not zero."""
    return (given[0], given[1]) if given and len(given) == 2 and all(given) else None


def _defaults(hostname: str, tty: bool) -> list[str]:
    return [_PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if tty else [])]
