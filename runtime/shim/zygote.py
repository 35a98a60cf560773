"""The zygote: a small process with the shims' modules loaded, from which shims are forked.

It holds no state; if it is killed, the daemon starts another.  It runs from a sealed copy of the interpreter in memory,
because a container can reach the executable of a process that enters it through /proc/self/exe.  After its start
nothing can be imported: children of shims have the container's files as their root.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import signal
import sys

from runtime.kernel import cgroups, cmdline, linux
from runtime.shim import main as shim_main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CHANNEL, _SHIMS = 3, 4
_OOM_SCORE = "-900"


def main() -> NoReturn:
    """Serve the daemon on descriptor 3; descriptor 4 is the shims' folder."""
    linux.close_range(_SHIMS + 1)
    for descriptor in (_CHANNEL, _SHIMS):
        os.set_inheritable(descriptor, False)
    _detach_shims()
    cmdline.find()
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    linux.prctl(linux.PR_SET_NAME, b"netd-zygote\0")
    os.chdir("/")
    _lower_oom_score()
    # The exit status of shims is not needed; with SIGCHLD ignored they leave no zombies.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    channel = _socket.socket(fileno=_CHANNEL)
    hierarchies = cgroups.find()
    _forbid_imports()
    gc.disable()
    gc.collect()
    gc.freeze()
    _serve(channel, hierarchies)
    os._exit(0)


def _detach_shims() -> None:
    """Replace the descriptor of the shims' folder by a detached mount of it.

    Containers can read the paths of their pipes in /proc/PID/fd: these paths then begin at the folder, not at the
    host's root.
    """
    tree = linux.open_tree(_SHIMS, "", recursive=False)
    os.dup2(tree, _SHIMS, inheritable=False)
    os.close(tree)


def _lower_oom_score() -> None:
    """Make the OOM killer prefer other processes, if the kernel permits that."""
    try:
        cgroups.write("/proc/self/oom_score_adj", _OOM_SCORE)
    except PermissionError:
        return


def _forbid_imports() -> None:
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def _serve(channel: _socket.socket, hierarchies: tuple[cgroups.Hierarchy, ...]) -> None:
    """Fork a shim for every request.

    The shim's setup process reads the request, because memory that the zygote writes is no longer shared with shims.
    """
    ready = select.poll()
    ready.register(channel.fileno(), select.POLLIN)
    answered = b"1"
    while answered:
        ready.poll()
        answer, ack = os.pipe()
        if os.fork() == 0:
            os.close(answer)
            shim_main.run(ack, channel, hierarchies, _SHIMS)
        os.close(ack)
        answered = os.read(answer, 1)
        os.close(answer)
