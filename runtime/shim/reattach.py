"""A shim for a process whose shim was killed: it opens the same pipes and log, but is not the parent.

It reads the exit status by a pidfd (PIDFD_GET_INFO, Linux 6.15).
"""

from __future__ import annotations

import _socket
import os
import select

from runtime import frames
from runtime.kernel import cgroups, linux
from runtime.shim import pipes, serving, shimdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runtime.frames import ShimState

_REAP_MILLISECONDS = 5000


def serve(control: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Take over the process that ADOPT describes; its pidfd and its input are sent as descriptors."""
    try:
        _kind, payload, (pidfd, *kept_input) = frames.receive(control)
        state = frames.unpack_state(payload)
        shim = serving.Shim(state, _ends(shims, state, kept_input))
        frames.send(control, frames.STARTED, *shim.describe())
    except (OSError, frames.ChannelError) as problem:
        frames.send(control, frames.FAILED, frames.pack_failure(128, str(problem)))
        os._exit(1)
    shim.serve(control, pidfd)
    group = cgroups.Group(hierarchies, state["group"])
    status = _status_after_reaping(pidfd)
    if status is None:
        text = "its shim was killed, and this kernel reports the exit status to the parent only"
        shim.finish(group, shims, 255, text)
    else:
        shim.finish(group, shims, serving.exit_code(status))
    os._exit(0)


def _ends(shims: int, state: ShimState, kept_input: list[int]) -> dict[str, int]:
    directory = os.open(state["id"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)
    if not state["tty"]:
        ends = pipes.open_for_shim(directory, stdin=state["stdin"] and bool(kept_input))
        frames.close_all(kept_input)
    else:
        ends = pipes.terminal_for_shim(kept_input[0]) if kept_input else {}
    os.close(directory)
    shimdir.unlink(state["id"] + shimdir.SOCKET_SUFFIX, shims)
    ends["listener"] = pipes.listen(shims, state["id"]).detach()
    return ends


def _status_after_reaping(pidfd: int) -> int | None:
    """Return the wait status of the process, which is not our child, once its parent has reaped it; None if unknown."""
    reaped = select.poll()
    reaped.register(pidfd, 0)
    reaped.poll(_REAP_MILLISECONDS)
    return linux.exit_status(pidfd)
