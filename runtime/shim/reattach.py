"""A shim for a process that has lost its own: same pipes, same log, another parent.

It learns the exit status from the kernel, which tells it to whoever holds a pidfd (Linux 6.15).
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
    from typing import Any, NoReturn

_REAPED_MILLISECONDS = 5000


def serve(control: _socket.socket, hierarchies: Sequence[cgroups.Hierarchy], shims: int) -> NoReturn:
    """Take over as the daemon says; the process and what is kept of its streams come as descriptors."""
    try:
        _kind, payload, (pidfd, *keeper) = frames.receive(control)
        state: dict[str, Any] = frames.unpack(payload)  # type: ignore[assignment]
        shim = serving.Shim(state, _ends(shims, state, keeper))
        frames.send(control, frames.STARTED, *shim.describe())
    except (OSError, frames.Broken) as problem:
        frames.send(control, frames.FAILED, frames.pack((128, str(problem))))
        os._exit(1)
    shim.serve(control, pidfd)
    group = cgroups.Group(hierarchies, state["group"])
    status = _status_of_stranger(pidfd)
    if status is None:
        text = "its shim was killed, and the kernel does not tell the exit status of others' children"
        shim.finish(group, shims, 255, text)
    else:
        shim.finish(group, shims, serving.exit_code(status))
    os._exit(0)


def _ends(shims: int, state: dict[str, Any], keeper: list[int]) -> dict[str, int]:
    directory = os.open(state["id"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)
    if not state["tty"]:
        ends = pipes.open_for_shim(directory, stdin=state["stdin"] and bool(keeper))
        frames.close_all(keeper)
    else:
        ends = pipes.terminal_for_shim(keeper[0]) if keeper else {}
    os.close(directory)
    shimdir.unlink(state["id"] + shimdir.SOCKET_SUFFIX, shims)
    ends["listener"] = pipes.listen(shims, state["id"]).detach()
    return ends


def _status_of_stranger(pidfd: int) -> int | None:
    """Return the wait status of a process that is not our child, once its parent has collected it."""
    reaped = select.poll()
    reaped.register(pidfd, 0)
    reaped.poll(_REAPED_MILLISECONDS)
    return linux.exit_status(pidfd)
