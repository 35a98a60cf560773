"""A container's user namespace, and the network namespace that belongs to it.

Made before the container itself: netd furnishes the network first.  They are handed out as descriptors, and end with
their last holder.
"""

from __future__ import annotations

import os

from runtime import frames
from runtime.kernel import cgroups, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn


def make(first: int, count: int, donor: str, *, network: bool) -> list[int]:
    """Return a user namespace whose ids 0 to *count* - 1 are the host's from *first* on; with *network*, a new network.

    With *donor*, the path of a user namespace, that one is returned instead of a new one.  Raises OSError.  Only for a
    process with a single thread.
    """
    ours, theirs = frames.pair()
    own_user = 0 if donor else linux.CLONE_NEWUSER
    child = linux.clone(own_user | (linux.CLONE_NEWNET if network and not donor else 0))
    if child == 0:
        ours.close()
        _hold(theirs, donor, network=network)
    theirs.close()
    try:
        kind, payload, _none = frames.receive(ours)
        if kind != frames.READY:
            raise OSError(*frames.unpack_tuple(payload))
        if not donor:
            for name in ("uid_map", "gid_map"):
                cgroups.write(f"/proc/{child}/{name}", f"0 {first} {count}\n")
        names = ("user", "net") if network else ("user",)
        return [os.open(f"/proc/{child}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    finally:
        ours.close()
        os.waitpid(child, 0)


def _hold(channel: _socket.socket, donor: str, *, network: bool) -> NoReturn:
    """Stay in the namespaces until the other side has taken hold of them."""
    try:
        if donor:
            descriptor = os.open(donor, os.O_RDONLY | os.O_CLOEXEC)
            linux.setns(descriptor, linux.CLONE_NEWUSER)
            if network:
                linux.unshare(linux.CLONE_NEWNET)
        frames.send(channel, frames.READY)
        frames.receive(channel)
    except OSError as problem:
        frames.send(channel, frames.FAILED, frames.pack((problem.errno or 0, problem.strerror or str(problem))))
    except frames.Broken:
        pass
    finally:
        os._exit(0)
