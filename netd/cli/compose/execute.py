"""``exec`` and ``attach``."""

from __future__ import annotations

from netd.cli.compose.acting.choose_container import choose_container
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.parse.flags import Command, many, parse, switch, text
from netd.cli.transport.terminal import STDIN, STDOUT, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def execute(session: Session, options: Options) -> int:
    """Run a command with the verb of containers; it gets a terminal if netctl has one."""
    from netd.cli.main import load

    service, *words = options.args
    container = choose_container(ComposeContext(session, options), service, options.number("index"))
    flags = [f"--{name}={options.text(name)}" for name in ("user", "workdir") if options.given(name)]
    flags += [f"--{name}" for name in ("detach", "privileged") if options.on(name)]
    flags += [f"--env={word}" for word in options.many("env")]
    if not options.on("detach"):
        flags += ["--interactive"] * options.on("interactive", default=True)
        flags += ["--tty"] * (not options.on("no-TTY", default=not (is_terminal(STDIN) and is_terminal(STDOUT))))
    command = load("exec")
    return command.run(session, parse([*flags, container.id, *words], command.flags, flags_first=True))


def attach(session: Session, options: Options) -> int:
    from netd.cli.main import load

    container = choose_container(ComposeContext(session, options), options.args[0], options.number("index"))
    flags = [
        f"--{name}={options.text(name)}" for name in ("detach-keys", "no-stdin", "sig-proxy") if options.given(name)
    ]
    command = load("attach")
    return command.run(session, parse([*flags, container.id], command.flags))


_INDEX = text("index", "", "NUMBER", "Number of the container, if the service has several")

COMMANDS = {
    "compose exec": Command(
        "compose exec [FLAGS] SERVICE COMMAND [ARGUMENT...]",
        execute,
        (
            switch("detach", "d", "Run the command in the background"),
            many("env", "e", "NAME[=VALUE]", "Set an environment variable"),
            _INDEX,
            switch("interactive", "i", "Keep standard input open (true)"),
            switch("no-TTY", "T", "Allocate no terminal", aliases=("no-tty",)),
            switch("privileged", "", "Give the command all privileges of the host's root"),
            switch("tty", "t", "Accepted for Docker's sake"),
            text("user", "u", "USER[:GROUP]", "User and group, by name or number"),
            text("workdir", "w", "PATH", "Working directory"),
        ),
        min_args=2,
        flags_first=True,
        completions=("service", "file"),
    ),
    "compose attach": Command(
        "compose attach [FLAGS] SERVICE",
        attach,
        (
            text("detach-keys", "", "KEYS", "Keys that detach from the container (ctrl-p,ctrl-q)"),
            _INDEX,
            switch("no-stdin", "", "Do not attach standard input"),
            switch("sig-proxy", "", "Forward signals to the container (true)"),
        ),
        min_args=1,
        max_args=1,
        completions=("service",),
    ),
}
