"""Creates a container's user namespace, and a network namespace owned by it.

They are created before the container, because netd configures the network first.  They are passed as descriptors, and
exist as long as one of these is open.
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
    """Return descriptors of a user namespace and, with *network*, of a new network namespace that it owns.

    Its ids 0 to *count* - 1 are the host's from *first* on.  With *donor*, the path of a user namespace, that namespace
    is used instead of a new one.  Raises OSError.  Only for a process with a single thread.
    """
    ours, theirs = frames.pair()
    new_user = 0 if donor else linux.CLONE_NEWUSER
    child = linux.clone(new_user | (linux.CLONE_NEWNET if network and not donor else 0))
    if child == 0:
        ours.close()
        _hold(theirs, donor, network=network)
    theirs.close()
    try:
        kind, payload, _none = frames.receive(ours)
        if kind != frames.READY:
            raise OSError(*frames.unpack_failure(payload))
        if not donor:
            for name in ("uid_map", "gid_map"):
                cgroups.write(f"/proc/{child}/{name}", f"0 {first} {count}\n")
        names = ("user", "net") if network else ("user",)
        return [os.open(f"/proc/{child}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    finally:
        ours.close()
        os.waitpid(child, 0)


def _hold(channel: _socket.socket, donor: str, *, network: bool) -> NoReturn:
    """Keep the namespaces in existence until the parent has opened them."""
    try:
        if donor:
            descriptor = os.open(donor, os.O_RDONLY | os.O_CLOEXEC)
            linux.setns(descriptor, linux.CLONE_NEWUSER)
            if network:
                linux.unshare(linux.CLONE_NEWNET)
        frames.send(channel, frames.READY)
        frames.receive(channel)
    except OSError as problem:
        frames.send(channel, frames.FAILED, frames.pack_failure(problem.errno or 0, problem.strerror or str(problem)))
    except frames.ChannelError:
        pass
    finally:
        os._exit(0)
