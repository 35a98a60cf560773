"""The shim: the parent of one process of a container, which serves that process's streams.

A shim is forked by the zygote, has a session of its own and does not depend on the daemon, which may be restarted.  A
child of the shim, the setup process, does the work of the start.  The shim itself does nothing until its process has
output, a client or an exit status: every page of memory that it writes is no longer shared with the zygote.
"""

from __future__ import annotations

import _socket
import os
import select

from runtime import frames
from runtime.kernel import cgroups
from runtime.shim import process_setup, serving

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn
else:
    import _signal  # the enumerations of the module signal would dirty 300 KB


def run(ack: int, channel: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Fork the setup process, wait until it exits, and serve the process that it has created.

    Until the first event of that process no memory is written: the setup process registers the descriptors to watch in
    the epoll instance, and sends them in a message that is not read before.
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
        process_setup.run(process_setup.SetupRequest(ack, channel, theirs, events), hierarchies, shims)
    os.close(ack)
    channel.close()
    theirs.close()
    ended: dict[int, int] = {}
    while child not in ended:
        pid, ended[pid] = os.waitpid(-1, 0)
    if ended[child] == 0:
        events.poll()
        events.close()
        _serve_process(ours, hierarchies, shims, ended)
    os._exit(0)


def _serve_process(
    handover: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int, ended: dict[int, int]
) -> None:
    _kind, payload, descriptors = frames.receive(handover)
    state, names = frames.unpack_handover(payload)
    ends = dict(zip(names, descriptors, strict=True))
    shim = serving.Shim(state, ends)
    shim.serve(_socket.socket(fileno=ends["control"]), ends["pidfd"])
    shim.finish(cgroups.Group(hierarchies, state["group"]), shims, serving.exit_code(_wait_for(state["pid"], ended)))


def _wait_for(wanted: int, ended: dict[int, int]) -> int:
    """Return the wait status of the process, which may be in *ended* already."""
    while wanted not in ended:
        pid, ended[pid] = os.waitpid(-1, 0)
    return ended[wanted]
