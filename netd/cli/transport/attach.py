"""Attached sessions: relays the streams of a process, forwards signals and terminal sizes, returns its exit code."""

from __future__ import annotations

import signal
from contextlib import nullcontext

from netd.cli.errors import ApiFault, Fault, SessionInterrupted, daemon_disconnected
from netd.cli.transport.relay import Relay
from netd.cli.transport.terminal import STDIN, STDOUT, RawMode, SignalPipe, is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from netd.cli.transport.http import Client, HttpResponse

_ENDING = (signal.SIGINT, signal.SIGTERM)
_FORWARDED = (*_ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FORCE_EXIT_SIGNALS = 3


class Target:
    """Receiver of terminal sizes and signals: a container, or an exec, which accepts sizes only."""

    def __init__(self, engine: Client, path: str) -> None:
        self._engine, self._path = engine, path

    def resize(self, extra_rows: int = 0) -> None:
        """Send the size of the local terminal; API errors are ignored, because the process may not be running."""
        terminal_size = size()
        if terminal_size is not None:
            self._post("resize", (("h", str(terminal_size[0] + extra_rows)), ("w", str(terminal_size[1] + extra_rows))))

    def kill(self, number: int) -> None:
        self._post("kill", (("signal", signal.Signals(number).name.removeprefix("SIG")),))

    def _post(self, verb: str, query: tuple[tuple[str, str], ...]) -> None:
        try:
            self._engine.call("POST", f"{self._path}/{verb}", query=query).close()
        except ApiFault:
            return


class SignalForwarder:
    """Handles signals during a session.

    Signals are forwarded if *proxy* is true, as docker does with and without a terminal; the third SIGINT or SIGTERM
    ends netctl, so that the user can end it even if the container ignores signals.  Without *proxy*, SIGTERM and
    SIGHUP end netctl in raw mode, after the settings of the terminal are restored.
    """

    def __init__(self, target: Target, *, raw: bool, tty: bool, proxy: bool) -> None:
        self._target, self._proxy = target, proxy
        handled = _FORWARDED if proxy else ((signal.SIGTERM, signal.SIGHUP) if raw else ())
        resize_signals = (signal.SIGWINCH,) if tty and is_terminal(STDOUT) else ()
        self.numbers = (*handled, *resize_signals)
        self._ending_signals = 0

    def __call__(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._target.resize()
            return
        self._ending_signals += number in _ENDING
        if not self._proxy or self._ending_signals >= _FORCE_EXIT_SIGNALS:
            raise SessionInterrupted(128 + number)
        self._target.kill(number)


def stream(
    target: Target,
    response: HttpResponse,
    *,
    tty: bool,
    stdin: bool,
    keys: bytes,
    proxy: bool,
    begin: Callable[[], None],
) -> bool:
    """Relay the streams of an attached process; *begin* is called when signal handlers and terminal are set up.

    Return False if the user detached.  The terminal's settings are restored when this returns or raises.
    """
    raw = tty and stdin and is_terminal(STDIN)
    forwarder = SignalForwarder(target, raw=raw, tty=tty, proxy=proxy)
    with SignalPipe(forwarder.numbers) as signals:
        relay = Relay(response.take(), framed=not tty, keys=keys if raw else b"", signals=signals, on_signal=forwarder)
        with RawMode() if raw else nullcontext():
            begin()
            return relay.run(stdin=stdin)


def exit_code(waiting: HttpResponse) -> int:
    """Return the exit code from the response to ``wait``.  Raises Fault if the daemon ends before it responds."""
    try:
        found = waiting.json()
    except Fault:
        raise daemon_disconnected("the container keeps running, see netctl ps") from None
    if not found:
        raise daemon_disconnected("the container keeps running, see netctl ps")
    error = (found.get("Error") or {}).get("Message")
    if error:
        raise Fault(error, 125)
    return int(found["StatusCode"])


def require_terminal(tty: bool, stdin: bool) -> None:
    """Raise Fault if the process gets a terminal with input and standard input of netctl is not a terminal."""
    if tty and stdin and not is_terminal(STDIN):
        raise Fault("standard input is not a terminal: omit -t, or run netctl in a terminal")
