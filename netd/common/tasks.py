"""Background tasks of a daemon: every task that does not belong to a single request is started by this module.

An unexpected exception in a task never ends the daemon.  Its first occurrence is logged with a traceback, later ones
are counted; a loop is restarted after a pause, a job ends.  ``system info`` lists the current failures.
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
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a failed loop is restarted; the delay doubles up to the second value."""
_STEADY = 60.0
"""Seconds that a loop must run without failing to count as recovered."""
_REMEMBERED = 3600.0
"""Seconds for which a failure is listed; a later one of the same kind is logged with a traceback again."""


@dataclass(slots=True)
class Failure:
    """One kind of failure: a task's kind, the exception's type and the line that raised it."""

    text: str
    count: int = 0
    latest: float = 0.0


class Failures:
    """Logs unexpected exceptions, once per kind, and counts them.  Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, type[BaseException], str], Failure] = {}
        self._lock = threading.Lock()

    def report(self, name: str, error: BaseException) -> None:
        """Record *error* of a task.  *name* is the task's kind, optionally followed by a space and an identifier."""
        kind = name.split(" ")[0]
        with self._lock:
            key = (kind, type(error), _raised_at(error))
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
        """Run *body* until it returns or the task is cancelled; restart it after a pause when it raises."""
        return self._start(self._supervise(body, name), name)

    def start(self, job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run *job* once.  Awaiting the task never raises the job's exceptions."""
        return self._start(self._guard(job, name), name)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(set(self._running))

    def install_exception_handlers(self) -> None:
        """Report exceptions of event loop callbacks, of tasks that are never awaited, and of threads.

        A connection whose callback failed is closed, because asyncio would not read from it again.
        """
        _wake_periodically(asyncio.get_running_loop())
        asyncio.get_running_loop().set_exception_handler(self._on_loop_exception)
        threading.excepthook = self._on_thread_exception

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
        pause = _SHORTEST_PAUSE
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
            pause = _SHORTEST_PAUSE if time.monotonic() - began > _STEADY else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self.failures.report(str(context["message"]).replace(" ", "-"), error)
            _abort(context.get("handle"))
        else:
            loop.default_exception_handler(context)

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            self.failures.report(f"thread-{args.thread.name if args.thread else 'unknown'}", args.exc_value)


def _abort(handle: object) -> None:
    """Abort the transport that a loop callback is bound to, or that is the owner of one of its arguments."""
    for part in (getattr(handle, "_callback", None), *(getattr(handle, "_args", None) or ())):
        owner = getattr(part, "__self__", None)
        if isinstance(owner, asyncio.Transport):
            owner.abort()


def _wake_periodically(loop: asyncio.AbstractEventLoop) -> None:
    """Wake the loop every second, to notice results of threads whose wake-up of the loop failed (ENOMEM)."""
    loop.call_later(1.0, _wake_periodically, loop)


def start_awaited(work: Awaitable[T]) -> asyncio.Future[T]:
    """Start *work*; the caller must await the result, or cancel it."""
    return asyncio.ensure_future(work)


class AwaitedGroup(asyncio.TaskGroup):
    """A group of tasks that ends with its block: the first failure cancels the others and is raised there."""

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.create_task(work)


def _raised_at(error: BaseException) -> str:
    """Return the file and line that raised *error*."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
