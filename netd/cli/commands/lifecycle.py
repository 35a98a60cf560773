"""Verbs for existing containers: ``start``, ``stop``, ``rm``, ``wait``, ``attach`` and others."""

from __future__ import annotations

from netd.cli.errors import Fault
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import print_line, request_each, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_KEYS = text("detach-keys", "", "KEYS", "Keys that detach from the container (ctrl-p,ctrl-q)")
_PROXY = switch("sig-proxy", "", "Forward signals to the container (true)")


def start(session: Session, options: Options) -> int:
    if not (options.on("attach") or options.on("interactive")):
        return _post_each(session, options, "start")
    if len(options.args) != 1:
        raise Fault("start takes exactly one container with --attach or --interactive")
    return _attach(session, options, stdin=options.on("interactive"), start=True)


def attach(session: Session, options: Options) -> int:
    return _attach(session, options, stdin=not options.on("no-stdin"), start=False)


def stop(session: Session, options: Options) -> int:
    return _post_each(session, options, "stop", t=options.number("time"), signal=options.text("signal"))


def restart(session: Session, options: Options) -> int:
    return _post_each(session, options, "restart", t=options.number("time"), signal=options.text("signal"))


def kill(session: Session, options: Options) -> int:
    return _post_each(session, options, "kill", signal=options.text("signal", "KILL"))


def pause(session: Session, options: Options) -> int:
    return _post_each(session, options, "pause")


def unpause(session: Session, options: Options) -> int:
    return _post_each(session, options, "unpause")


def rename(session: Session, options: Options) -> int:
    container, name = options.args
    session.engine.post(f"/containers/{container}/rename", query=(("name", name),))
    return 0


def remove(session: Session, options: Options) -> int:
    flags = (("force", "force"), ("v", "volumes"), ("link", "link"))
    query = [(key, "1") for key, name in flags if options.on(name)]
    return request_each(
        options.args,
        lambda name: session.engine.send("DELETE", f"/containers/{name}", query=query),
        tolerant=options.on("force"),
    )


def wait(session: Session, options: Options) -> int:
    def show(name: str, found: Any) -> None:
        print_line(str(found["StatusCode"]))

    query = (("condition", options.text("condition")),)
    return request_each(
        options.args, lambda name: session.engine.send("POST", f"/containers/{name}/wait", query=query), show
    )


def _post_each(session: Session, options: Options, verb: str, t: int | None = None, signal: str = "") -> int:
    query = (("t", "" if t is None else str(t)), ("signal", signal))
    return request_each(
        options.args, lambda name: session.engine.send("POST", f"/containers/{name}/{verb}", query=query)
    )


def _attach(session: Session, options: Options, *, stdin: bool, start: bool) -> int:
    """Attach to an existing container; with *start*, start it after its streams are attached."""
    from netd.cli.commands.run import detach_keys_of
    from netd.cli.transport.attach import Target, exit_code, require_terminal, stream

    engine, name = session.engine, options.args[0]
    details = engine.get(f"/containers/{name}/json")
    if not start:
        _require_running(name, details["State"])
    tty, stdin = bool(details["Config"]["Tty"]), stdin and bool(details["Config"]["OpenStdin"])
    require_terminal(tty, stdin)
    path = f"/containers/{details['Id']}"
    streams = [(key, "1") for key in ("stderr", "stdin", "stdout", "stream") if key != "stdin" or stdin]
    response = engine.hijack(f"{path}/attach", query=streams)
    removed = start and details["HostConfig"].get("AutoRemove")
    condition = ("removed" if removed else "next-exit") if start else ""
    waiting = engine.call("POST", f"{path}/wait", query=(("condition", condition),))
    target = Target(engine, path)
    begin = _start_action(session, path, target, tty) if start else (lambda: _redraw(target, tty))
    proxy = options.on("sig-proxy", default=True)
    if not stream(target, response, tty=tty, stdin=stdin, keys=detach_keys_of(options), proxy=proxy, begin=begin):
        warn(f"detached; {name} keeps running")
        return 0
    return exit_code(waiting)


def _require_running(name: str, state: Any) -> None:
    if not state["Running"]:
        raise Fault(f"cannot attach to {name}: it is not running; start it with 'netctl start -a {name}'")
    if state["Paused"]:
        raise Fault(f"cannot attach to {name}: it is paused; resume it with 'netctl unpause {name}'")


def _start_action(session: Session, path: str, target: Any, tty: bool) -> Callable[[], None]:
    def begin() -> None:
        session.engine.post(f"{path}/start")
        if tty:
            target.resize()

    return begin


def _redraw(target: Any, tty: bool) -> None:
    """Change the terminal's size twice, so that a full-screen program redraws its screen."""
    if tty:
        target.resize(extra_rows=1)
        target.resize()


def _command(usage: str, run: Callable[[Session, Options], int], *flags: Any, completions: str = "running") -> Command:
    return Command(f"{usage} CONTAINER [CONTAINER...]", run, flags, min_args=1, completions=(completions,))


_TIME = text(
    "time", "t", "SECONDS", "Seconds to wait before the container is killed; -1 waits forever", aliases=("timeout",)
)
_SIGNAL = text("signal", "s", "SIGNAL", "Signal to send, by name or number")

COMMANDS = {
    "start": _command(
        "start [FLAGS]",
        start,
        switch("attach", "a", "Attach the output, forward signals, exit with the container's exit code"),
        switch("interactive", "i", "Attach standard input as well"),
        _KEYS,
        _PROXY,
        completions="stopped",
    ),
    "stop": _command("stop [FLAGS]", stop, _TIME, _SIGNAL),
    "restart": _command("restart [FLAGS]", restart, _TIME, _SIGNAL, completions="container"),
    "kill": _command("kill [FLAGS]", kill, _SIGNAL),
    "pause": _command("pause", pause),
    "unpause": _command("unpause", unpause),
    "rm": _command(
        "rm [FLAGS]",
        remove,
        switch("force", "f", "Kill running containers first; a missing container is no error"),
        switch("link", "l", "Remove the link CONTAINER/ALIAS instead of a container"),
        switch("volumes", "v", "Remove anonymous volumes of the container as well"),
        completions="container",
    ),
    "wait": _command(
        "wait [FLAGS]",
        wait,
        text("condition", "", "WHEN", "not-running, next-exit, removed", values="words:not-running next-exit removed"),
    ),
    "rename": Command("rename CONTAINER NAME", rename, min_args=2, max_args=2, completions=("container", "none")),
    "attach": Command(
        "attach [FLAGS] CONTAINER",
        attach,
        (switch("no-stdin", "", "Do not attach standard input"), _KEYS, _PROXY),
        min_args=1,
        max_args=1,
        completions=("running",),
    ),
}
