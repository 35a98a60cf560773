"""Background tasks of a daemon: every task that runs beside the requests is started here.

An exception that a task does not expect never ends the daemon.  It is logged with its traceback the first time and
counted from then on; a loop is started again after a pause, a job just ends.  What fails now can be asked for, so that
``system info`` shows it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from netd.common.errors import Problem

T = TypeVar("T")

_log = logging.getLogger(__name__)
_SHORTEST, _LONGEST = 0.1, 30.0
"""Seconds of pause before a loop is started again, doubled each time."""
_STEADY = 60.0
"""Seconds after which a loop that runs counts as recovered."""
_REMEMBERED = 3600.0
"""Seconds for which a failure is shown, and after which its traceback is logged again."""


@dataclass(slots=True)
class Failure:
    """One kind of failure: a task's kind, the exception's type and the line that raised it."""

    text: str
    count: int = 0
    latest: float = 0.0


class Failures:
    """Logs unexpected exceptions, each kind once, and remembers them.  May be used from any thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, type[BaseException], str], Failure] = {}
        self._lock = threading.Lock()

    def report(self, name: str, error: BaseException) -> None:
        """Log *error* of a task; *name* is the task's kind, then whatever tells it from others of its kind."""
        kind = name.split(" ")[0]
        with self._lock:
            key = (kind, type(error), _place(error))
            found = self._known.setdefault(key, Failure(""))
            again = found.count and time.monotonic() - found.latest < _REMEMBERED
            found.count, found.latest = (found.count + 1 if again else 1), time.monotonic()
            found.text = f"{type(error).__name__}: {error}"
        if not again:
            trace = None if isinstance(error, Problem) else error
            _log.error("background task failed: task=%s error=%s", name, error, exc_info=trace)

    def recovered(self, kind: str) -> None:
        with self._lock:
            self._known = {key: found for key, found in self._known.items() if key[0] != kind}

    def sentences(self) -> list[str]:
        """Return one sentence for each kind of failure of the last hour."""
        since = time.monotonic() - _REMEMBERED
        with self._lock:
            recent = [(key[0], found) for key, found in self._known.items() if found.latest > since]
        return [f"background task {kind} failed ({found.count}): {found.text}" for kind, found in recent]


class Tasks:
    """The background tasks of one daemon."""

    def __init__(self, failures: Failures | None = None) -> None:
        """*failures* may be shared by several owners of tasks in one daemon."""
        self.failures = failures or Failures()
        self._running: set[asyncio.Task[None]] = set()

    def loop(self, body: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
        """Run *body* for ever: again after a pause whenever it raises, until it returns or the task is cancelled."""
        return self._start(self._supervise(body, name), name)

    def start(self, job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run *job* once; awaiting the task never raises what the job raised."""
        return self._start(self._guard(job, name), name)

    async def close(self) -> None:
        """Cancel all tasks and return when they have ended."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(set(self._running))

    def install_exception_handlers(self) -> None:
        """Report exceptions of callbacks, of tasks whose result is never taken, and of threads in the same way.

        A connection whose callback failed is closed: nothing would be read from it any more.
        """
        _tick(asyncio.get_running_loop())
        asyncio.get_running_loop().set_exception_handler(self._stray)
        threading.excepthook = self._stray_thread

    def _start(self, body: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(body, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _guard(self, job: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await job
        except Exception as error:
            self.failures.report(name, error)

    async def _supervise(self, body: Callable[[], Awaitable[None]], name: str) -> None:
        pause = _SHORTEST
        while True:
            began = time.monotonic()
            recovery = asyncio.get_running_loop().call_later(_STEADY, self.failures.recovered, name.split(" ")[0])
            try:
                await body()
                return
            except Exception as error:
                self.failures.report(name, error)
            finally:
                recovery.cancel()
            pause = _SHORTEST if time.monotonic() - began > _STEADY else min(2 * pause, _LONGEST)
            await asyncio.sleep(pause)

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self.failures.report(str(context["message"]).replace(" ", "-"), error)
            _abort(context.get("handle"))
        else:
            loop.default_exception_handler(context)

    def _stray_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            self.failures.report(f"thread-{args.thread.name if args.thread else 'unknown'}", args.exc_value)


def _abort(handle: object) -> None:
    """Close the connection that a callback of the loop belongs to, by itself or by what it is called with."""
    for part in (getattr(handle, "_callback", None), *(getattr(handle, "_args", None) or ())):
        owner = getattr(part, "__self__", None)
        if isinstance(owner, asyncio.Transport):
            owner.abort()


def _tick(loop: asyncio.AbstractEventLoop) -> None:
    """Wake the loop up every second: a thread that could not tell it that it is done (ENOMEM) is noticed then."""
    loop.call_later(1.0, _tick, loop)


def start_awaited(work: Awaitable[T]) -> asyncio.Future[T]:
    """Start *work* whose result the caller itself awaits, and which it cancels on every other way out."""
    return asyncio.ensure_future(work)


def _place(error: BaseException) -> str:
    """Return the file and line that raised *error*."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
