"""A small, warm process from which shims are forked: nothing but the modules they need, loaded and frozen.

It owns nothing, and its death harms nothing: the daemon starts another.  It runs from a sealed copy of the interpreter
in memory, because a container can reach the executable of a process that enters it through /proc/self/exe.  Nothing
can be imported once it is up: a shim's children have the container's files as their root.
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
    _spare_from_oom()
    # Of ended shims nobody wants to know; children that are ignored leave no zombies.
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
    """See the shims' folder through a mount of its own: containers read the names of their pipes in /proc/PID/fd.

    Without it those are paths of the host; with it they begin at the folder.
    """
    tree = linux.open_tree(_SHIMS, "", recursive=False)
    os.dup2(tree, _SHIMS, inheritable=False)
    os.close(tree)


def _spare_from_oom() -> None:
    """Have the kernel look elsewhere first when memory runs out, where it lets us ask for that."""
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
    """Fork a shim for every request, which its midwife reads; what is done here dirties memory that shims share."""
    ready = select.poll()
    ready.register(channel.fileno(), select.POLLIN)
    answered = b"1"
    while answered:
        ready.poll()
        answer, told = os.pipe()
        if os.fork() == 0:
            os.close(answer)
            shim_main.stand_by(told, channel, hierarchies, _SHIMS)
        os.close(told)
        answered = os.read(answer, 1)
        os.close(answer)
