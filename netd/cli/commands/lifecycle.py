"""Verbs that change or await containers that exist: ``start``, ``stop``, ``rm``, ``wait``, ``attach`` and others."""

from __future__ import annotations

from netd.cli.errors import Fault
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import each, say, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_KEYS = text("detach-keys", "", "KEYS", "Keys that leave it running and end netctl (ctrl-p,ctrl-q)")
_PROXY = switch("sig-proxy", "", "Hand signals on to it (true)")


def start(session: Session, options: Options) -> int:
    if not (options.on("attach") or options.on("interactive")):
        return _post_each(session, options, "start")
    if len(options.args) != 1:
        raise Fault("start takes one container with --attach or --interactive")
    return _follow(session, options, stdin=options.on("interactive"), start=True)


def attach(session: Session, options: Options) -> int:
    return _follow(session, options, stdin=not options.on("no-stdin"), start=False)


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
    query = [(key, "1") for key, name in (("force", "force"), ("v", "volumes")) if options.on(name)]
    return each(options.args, lambda name: session.engine.ask("DELETE", f"/containers/{name}", query=query))


def wait(session: Session, options: Options) -> int:
    def show(name: str, found: Any) -> None:
        say(str(found["StatusCode"]))

    query = (("condition", options.text("condition")),)
    return each(options.args, lambda name: session.engine.ask("POST", f"/containers/{name}/wait", query=query), show)


def _post_each(session: Session, options: Options, verb: str, t: int | None = None, signal: str = "") -> int:
    query = (("t", "" if t is None else str(t)), ("signal", signal))
    return each(options.args, lambda name: session.engine.ask("POST", f"/containers/{name}/{verb}", query=query))


def _follow(session: Session, options: Options, *, stdin: bool, start: bool) -> int:
    """Attach to a container that exists; *start* starts it once its streams are attached."""
    from netd.cli.commands.run import session_keys
    from netd.cli.transport.attach import Target, exit_code, needs_terminal, stream

    engine, name = session.engine, options.args[0]
    found = engine.get(f"/containers/{name}/json")
    if not start:
        _must_run(name, found["State"])
    tty, stdin = bool(found["Config"]["Tty"]), stdin and bool(found["Config"]["OpenStdin"])
    needs_terminal(tty, stdin)
    path = f"/containers/{found['Id']}"
    wanted = [(key, "1") for key in ("stderr", "stdin", "stdout", "stream") if key != "stdin" or stdin]
    answer = engine.hijack(f"{path}/attach", query=wanted)
    removed = start and found["HostConfig"].get("AutoRemove")
    condition = ("removed" if removed else "next-exit") if start else ""
    waiting = engine.call("POST", f"{path}/wait", query=(("condition", condition),))
    target = Target(engine, path)
    begin = _starter(session, path, target, tty) if start else (lambda: _redraw(target, tty))
    proxy = options.on("sig-proxy", default=True)
    if not stream(target, answer, tty=tty, stdin=stdin, keys=session_keys(options), proxy=proxy, begin=begin):
        warn(f"detached; {name} goes on")
        return 0
    return exit_code(waiting)


def _must_run(name: str, state: Any) -> None:
    if not state["Running"]:
        raise Fault(f"cannot attach to {name}: it is not running; start it with 'netctl start -a {name}'")
    if state["Paused"]:
        raise Fault(f"cannot attach to {name}: it is paused; let it go on with 'netctl unpause {name}'")


def _starter(session: Session, path: str, target: Any, tty: bool) -> Callable[[], None]:
    def begin() -> None:
        session.engine.post(f"{path}/start")
        if tty:
            target.resize()

    return begin


def _redraw(target: Any, tty: bool) -> None:
    """A program on a terminal draws anew when the size changes, so that we see what is on its screen."""
    if tty:
        target.resize(more=1)
        target.resize()


def _command(usage: str, run: Callable[[Session, Options], int], *flags: Any, offers: str = "running") -> Command:
    return Command(f"{usage} CONTAINER [CONTAINER...]", run, flags, least=1, offers=(offers,))


_TIME = text("time", "t", "SECONDS", "How long to wait before killing; -1 waits for ever", also=("timeout",))
_SIGNAL = text("signal", "s", "SIGNAL", "Which signal, by name or number")

COMMANDS = {
    "start": _command(
        "start [FLAGS]",
        start,
        switch("attach", "a", "Show its output and end with its exit code"),
        switch("interactive", "i", "Attach standard input as well"),
        _KEYS,
        _PROXY,
        offers="stopped",
    ),
    "stop": _command("stop [FLAGS]", stop, _TIME, _SIGNAL),
    "restart": _command("restart [FLAGS]", restart, _TIME, _SIGNAL, offers="container"),
    "kill": _command("kill [FLAGS]", kill, _SIGNAL),
    "pause": _command("pause", pause),
    "unpause": _command("unpause", unpause),
    "rm": _command(
        "rm [FLAGS]",
        remove,
        switch("force", "f", "Kill it first if it runs"),
        switch("volumes", "v", "Remove its nameless volumes as well"),
        offers="container",
    ),
    "wait": _command(
        "wait [FLAGS]",
        wait,
        text("condition", "", "WHEN", "not-running, next-exit, removed", values="words:not-running next-exit removed"),
    ),
    "rename": Command("rename CONTAINER NAME", rename, least=2, most=2, offers=("container", "none")),
    "attach": Command(
        "attach [FLAGS] CONTAINER",
        attach,
        (switch("no-stdin", "", "Do not attach standard input"), _KEYS, _PROXY),
        least=1,
        most=1,
        offers=("running",),
    ),
}
