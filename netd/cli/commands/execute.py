"""``exec``: runs a command in a running container."""

from __future__ import annotations

from netd.cli.errors import Fault
from netd.cli.parse.create_body import environment
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def execute(session: Session, options: Options) -> int:
    """Return the program's exit code; 126 or 127 if it could not be executed.  Raises Fault for all other errors."""
    container, *words = options.args
    detached = options.on("detach")
    tty = options.on("tty")
    stdin = options.on("interactive") and not detached
    if not detached:
        from netd.cli.transport.attach import require_terminal

        require_terminal(tty, stdin)
    body: dict[str, Any] = {
        "AttachStdin": stdin,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Tty": tty,
        "Cmd": words,
        "Env": environment(options),
        "User": options.text("user"),
        "WorkingDir": options.text("workdir"),
        "Privileged": options.on("privileged"),
    }
    id = session.engine.post(f"/containers/{container}/exec", body)["Id"]
    if detached:
        session.engine.post(f"/exec/{id}/start", {"Detach": True, "Tty": tty})
        return 0
    return _attached(session, options, id, tty=tty, stdin=stdin)


def _attached(session: Session, options: Options, id: str, *, tty: bool, stdin: bool) -> int:
    from netd.cli.commands.run import detach_keys_of
    from netd.cli.transport.attach import Target, stream
    from netd.cli.transport.terminal import size

    path = f"/exec/{id}"
    start: dict[str, Any] = {"Detach": False, "Tty": tty}
    if tty and (now := size()):
        start["ConsoleSize"] = now
    keys = detach_keys_of(options)
    response = session.engine.hijack(f"{path}/start", start)
    target = Target(session.engine, path)
    if not stream(target, response, tty=tty, stdin=stdin, keys=keys, proxy=False, begin=target.resize if tty else _go):
        warn("detached; the program keeps running")
        return 0
    code = session.engine.get(f"{path}/json")["ExitCode"]
    if code is None:
        raise Fault("the connection ended before the program did; the program may still run")
    return int(code)


def _go() -> None:
    """Do nothing: the program runs already."""


COMMANDS = {
    "exec": Command(
        "exec [FLAGS] CONTAINER COMMAND [ARGUMENT...]",
        execute,
        (
            switch("detach", "d", "Run the command in the background"),
            text("detach-keys", "", "KEYS", "Keys that detach from the command (ctrl-p,ctrl-q)"),
            many(
                "env",
                "e",
                "NAME[=VALUE]",
                "Set an environment variable; without VALUE, to its value in netctl's environment",
            ),
            many("env-file", "", "FILE", "Read environment variables from a file", values="file"),
            switch("interactive", "i", "Keep standard input open"),
            switch("privileged", "", "Give the command all privileges of the host's root"),
            switch("tty", "t", "Allocate a terminal"),
            text("user", "u", "USER[:GROUP]", "User and group, by name or number"),
            text("workdir", "w", "PATH", "Working directory"),
        ),
        min_args=2,
        flags_first=True,
        completions=("running", "file"),
    )
}
