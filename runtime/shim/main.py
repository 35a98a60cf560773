"""The process that stays beside each process of a container: its parent, and the keeper of its streams.

A shim is forked by the zygote, has a session of its own and no tie to the daemon, which may come and go.  A child of
its own, the midwife, does the work of the start.  A shim does nothing until it has to: every page of memory that it
touches is one that it no longer shares with the zygote.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the enumerations of signal would dirty 300 KB
import _socket
import os
import select

from runtime import frames
from runtime.kernel import cgroups
from runtime.shim import process_setup, serving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def stand_by(told: int, channel: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Be the parent of what the midwife makes, and serve it when the first thing happens to it.

    Until then nothing is touched: the midwife puts the descriptors to watch into the epoll, and sends them along in a
    message that waits to be read.
    """
    os.setsid()
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    name = os.open("/proc/self/comm", os.O_WRONLY)
    os.write(name, b"netd-shim")
    os.close(name)
    ours, theirs = _socket.socketpair()
    events = select.epoll()
    child = os.fork()
    if child == 0:
        process_setup.attend(process_setup.SetupRequest(told, channel, theirs, ours, events), hierarchies, shims)
    os.close(told)
    channel.close()
    theirs.close()
    ended: dict[int, int] = {}
    while child not in ended:
        pid, ended[pid] = os.waitpid(-1, 0)
    if ended[child] == 0:
        events.poll()
        events.close()
        _wake(ours, hierarchies, shims, ended)
    os._exit(0)


def _wake(
    delivery: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int, ended: dict[int, int]
) -> None:
    _kind, payload, descriptors = frames.receive(delivery)
    state, names = frames.unpack_tuple(payload)
    ends = dict(zip(names, descriptors, strict=True))
    shim = serving.Shim(state, ends)
    shim.serve(_socket.socket(fileno=ends["control"]), ends["pidfd"])
    shim.finish(cgroups.Group(hierarchies, state["group"]), shims, serving.exit_code(_collect(state["pid"], ended)))


def _collect(wanted: int, ended: dict[int, int]) -> int:
    """Return the wait status of the process, which may have been collected already."""
    while wanted not in ended:
        pid, ended[pid] = os.waitpid(-1, 0)
    return ended[wanted]
