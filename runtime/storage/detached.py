"""Detached mounts for the daemon's own access to the files of images and containers.

Each function returns a descriptor of a mount that no other process can see; closing the descriptor unmounts it.  Steps
that need a mount namespace run in a thread of their own, which is not used for anything else afterwards.  All functions
block.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from runtime.init import mounts
from runtime.kernel import linux, proc

T = TypeVar("T")


def overlay(layers: Sequence[str], upper: str = "", work: str = "") -> int:
    """Return an overlay of the directories *layers*, top first; read-only without *upper*.

    A single layer without *upper* is not an overlay, in which its whiteouts would be hidden: overlayfs needs two.
    """
    if not upper and len(layers) == 1:
        return mounts.bind(layers[0], read_only=True, recursive=False)
    try:
        return mounts.new_overlay(layers, upper, work)
    except OSError as problem:
        if not mounts.is_unknown_to_old_kernel(problem):
            raise
    return in_private_namespace(lambda: mounts.overlay_here(layers, upper, work))


def root_of_process(pid: int, *, recursive: bool = False) -> int:
    """Return a copy of the mount that is the root of the process *pid*, with *recursive* also of all mounts below it.

    In a user namespace it must be *recursive*: copies there must not uncover what mounts hide.  Changes made through it
    and by the process are coherent.  Raises FileNotFoundError or ProcessLookupError if the process has ended.
    """
    namespace = os.open(proc.namespace_path(pid, "mnt"), os.O_RDONLY | os.O_CLOEXEC)

    def copy() -> int:
        linux.unshare(linux.CLONE_FS)
        linux.setns(namespace, linux.CLONE_NEWNS)
        return linux.open_tree(linux.AT_FDCWD, "/", recursive=recursive)

    try:
        return _in_thread(copy)
    finally:
        os.close(namespace)


def in_private_namespace(action: Callable[[], T]) -> T:
    """Call *action* in a thread with a private copy of the mount namespace, and return its result."""

    def run() -> T:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        return action()

    return _in_thread(run)


def _in_thread(action: Callable[[], T]) -> T:
    results: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, name="mounts", daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return results[0]
