"""Runs a function in a thread of its own, for system calls that change only the calling thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_new_thread(body: Callable[[], T]) -> T:
    """Run *body* in a new thread, wait for it, and return its result or raise its exception."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(body())
        except BaseException as problem:
            outcome.set_exception(problem)

    thread = threading.Thread(target=run, name="own")
    thread.start()
    thread.join()
    return outcome.result()
