"""Runs jobs of services concurrently, each after those of the services that it needs.

Jobs run in threads, so that the main thread can react to signals.  After a failure or an interruption no further job is
started; jobs that run are waited for.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from netd.cli import signal_waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_LIMIT = 16
"""Jobs at a time if the user sets no limit; each uses a connection of the daemon."""


class Cancellation:
    """Whether the user has interrupted the call; jobs that wait for something ask it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def request(self) -> None:
        self._event.set()

    def pause(self, seconds: float) -> None:
        """Wait, at most until the user interrupts."""
        self._event.wait(seconds)


def run_ordered(
    edges: Mapping[str, frozenset[str]],
    job: Callable[[str], None],
    cancellation: Cancellation,
    limit: int = DEFAULT_LIMIT,
) -> None:
    """Run *job* for each key of *edges* after those that it needs, at most *limit* (if positive) at a time.

    Raises the first exception of a job, or KeyboardInterrupt, also if the cancellation is requested elsewhere.
    """
    results: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
    waiting = sorted(edges)
    done: set[str] = set()
    running = 0
    failure: BaseException | None = None
    while waiting or running:
        if cancellation.requested and failure is None:
            failure = KeyboardInterrupt()
        if failure is None:
            ready = [key for key in waiting if edges[key] <= done]
            for key in ready[: max(0, limit - running) if limit > 0 else None]:
                waiting.remove(key)
                running += 1
                threading.Thread(target=_run, args=(key, job, results), daemon=True).start()
        if not running:
            break
        try:
            key, error = signal_waits.take(results)
        except KeyboardInterrupt as interrupted:
            if cancellation.requested:
                raise
            cancellation.request()
            failure = failure or interrupted
            continue
        running -= 1
        done.add(key)
        failure = failure or error
    if failure is not None:
        raise failure


def run_all(
    keys: list[str], job: Callable[[str], None], cancellation: Cancellation, limit: int = DEFAULT_LIMIT
) -> None:
    """Run *job* for all keys concurrently; otherwise as :func:`run_ordered`."""
    run_ordered(dict.fromkeys(keys, frozenset()), job, cancellation, limit)


def _run(key: str, job: Callable[[str], None], results: SimpleQueue[tuple[str, BaseException | None]]) -> None:
    try:
        job(key)
    except BaseException as error:
        results.put((key, error))
    else:
        results.put((key, None))
