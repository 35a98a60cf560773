"""Being attached to a process: start it, carry its streams, hand on signals and sizes, tell its exit code."""

from __future__ import annotations

import signal
from contextlib import nullcontext

from netd.cli.errors import ApiFault, Fault, Left, daemon_gone
from netd.cli.transport.relay import Relay
from netd.cli.transport.terminal import STDIN, STDOUT, Raw, Signals, is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from netd.cli.transport.http import Client, HttpResponse

_ENDING = (signal.SIGINT, signal.SIGTERM)
_FORWARDED = (*_ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE = 3


class Target:
    """What resizes and signals go to: a container, or an exec, which takes sizes only."""

    def __init__(self, engine: Client, path: str) -> None:
        self._engine, self._path = engine, path

    def resize(self, more: int = 0) -> None:
        """Give it the size of our terminal; one that has just ended or not begun does not mind."""
        now = size()
        if now is not None:
            self._quietly("resize", (("h", str(now[0] + more)), ("w", str(now[1] + more))))

    def kill(self, number: int) -> None:
        self._quietly("kill", (("signal", signal.Signals(number).name.removeprefix("SIG")),))

    def _quietly(self, verb: str, query: tuple[tuple[str, str], ...]) -> None:
        try:
            self._engine.call("POST", f"{self._path}/{verb}", query=query).close()
        except ApiFault:
            return


class Watch:
    """What to do with the signals that arrive during a session.

    With our terminal in raw mode Ctrl-C is a key like others, so a signal comes from outside and ends netctl; else
    signals are handed on.  A program that ignores three of them is left alone, so that Ctrl-C always gets one out.
    """

    def __init__(self, target: Target, *, raw: bool, tty: bool, proxy: bool) -> None:
        self._target, self._raw, self._proxy = target, raw, proxy
        ours = (signal.SIGTERM, signal.SIGHUP) if raw else (_FORWARDED if proxy else ())
        sized = (signal.SIGWINCH,) if tty and is_terminal(STDOUT) else ()
        self.numbers = (*ours, *sized)
        self._endings = 0

    def __call__(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._target.resize()
            return
        self._endings += number in _ENDING
        if self._raw or self._endings >= _PATIENCE:
            raise Left(128 + number)
        self._target.kill(number)


def stream(
    target: Target,
    answer: HttpResponse,
    *,
    tty: bool,
    stdin: bool,
    keys: bytes,
    proxy: bool,
    begin: Callable[[], None],
) -> bool:
    """Carry the streams of an attached process; *begin* starts it once we are ready to.

    Returns False when the user detached.  The terminal is as before when this returns or raises.
    """
    raw = tty and stdin and is_terminal(STDIN)
    watch = Watch(target, raw=raw, tty=tty, proxy=proxy)
    with Signals(watch.numbers) as signals:
        relay = Relay(answer.take(), framed=not tty, keys=keys if raw else b"", signals=signals, on_signal=watch)
        with Raw() if raw else nullcontext():
            begin()
            return relay.run(stdin=stdin)


def exit_code(waiting: HttpResponse) -> int:
    """Return the code that the answer to ``wait`` brings.  Raises Fault when the daemon goes away before it does."""
    try:
        found = waiting.json()
    except Fault:
        raise daemon_gone("the container goes on, see netctl ps") from None
    if not found:
        raise daemon_gone("the container goes on, see netctl ps")
    error = (found.get("Error") or {}).get("Message")
    if error:
        raise Fault(error, 125)
    return int(found["StatusCode"])


def needs_terminal(tty: bool, stdin: bool) -> None:
    """Raise Fault where a terminal was asked for and our input is none: there would be nobody to type."""
    if tty and stdin and not is_terminal(STDIN):
        raise Fault("the input is not a terminal: leave out -t, or run it in one")
