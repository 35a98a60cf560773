"""Keys of an attached session on a terminal: ``w`` watches files or ends that, ``d`` detaches."""

from __future__ import annotations

import contextlib
import os
import select
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from netd.cli.compose.acting.attached_session import AttachedSession
    from netd.cli.compose.watching.background_watch import BackgroundWatch

_SLICE_MILLISECONDS = 200


@contextlib.contextmanager
def keyboard_menu(session: AttachedSession, watching: BackgroundWatch | None) -> Iterator[None]:
    """Accept keys until the block ends; nothing if standard input and output are not both a terminal."""
    if not (os.isatty(0) and os.isatty(1)):
        yield
        return
    from netd.cli.transport.terminal import SingleKeys

    ended = threading.Event()
    session.notice(f"Keys: {'w watches files or ends that, ' if watching is not None else ''}d detaches")
    thread = threading.Thread(target=_read_keys, args=(session, watching, ended), daemon=True)
    with SingleKeys():
        thread.start()
        try:
            yield
        finally:
            ended.set()


def _read_keys(session: AttachedSession, watching: BackgroundWatch | None, ended: threading.Event) -> None:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while not ended.is_set():
        if not poll.poll(_SLICE_MILLISECONDS):
            continue
        key = os.read(0, 1)
        if key == b"d":
            session.detach()
        elif key == b"w" and watching is not None:
            watching.toggle()
        if not key:
            return
