"""How the daemon starts and reaches processes in containers, as protocols.

``runtime.shim_client.launcher`` implements them over the zygote and the shims; the daemon knows only this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from runtime.spec import ContainerSpec, ExitStatus, Process


class Attachment(Protocol):
    """One client's view of a process's streams.  Closing it never ends the process."""

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (1 stdout | 2 stderr, bytes) until the last output after the exit; a tty's output is all stream 1.

        Raises StreamLost when the output was cut off before.
        """

    async def write(self, data: bytes) -> None:
        """Send to standard input."""

    async def close_stdin(self) -> None: ...

    async def close(self) -> None: ...


class Running(Protocol):
    """A process that was started, a container's first or an exec's; the same after a restart of the daemon."""

    id: str
    pid: int
    started: str

    async def wait(self) -> ExitStatus:
        """Return when the process has ended and its output is in the log; may be called often and at once by many."""

    async def attach(self, *, stdin: bool, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Deliver what is written from now on.  Attaching before ``release`` misses nothing.

        Who attached before ``release``, or to a process without a log, is waited for as long as it does not read.
        """

    async def signal(self, number: int) -> None:
        """Send a signal to the process.  Raises ProcessLookupError when it has ended."""

    async def resize(self, rows: int, columns: int) -> None: ...


class Supervisor(Protocol):
    async def start(self) -> None:
        """Bring up the zygote and its spare shims."""

    async def prepare(self, container: ContainerSpec) -> Running:
        """Make the container and stop just before its program: streams can be attached to now.

        Raises StartError when that cannot be done (all is undone then).
        """

    async def namespaces(self, first: int, count: int, donor: str, *, network: bool) -> list[int]:
        """Return descriptors of a new user namespace and, with *network*, of a network namespace that it owns.

        The ids from 0 to *count* - 1 inside are the host's from *first* on.  With *donor*, the path of a user
        namespace, that one is returned.  The caller closes them.  Raises StartError.
        """

    async def release(self, running: Running) -> None:
        """Let the prepared process run its program; returns when exec has succeeded.

        Raises StartError (126, 127) when it has not.
        """

    async def cancel(self, running: Running) -> None:
        """Undo a process that was prepared and not released."""

    async def exec(self, container_id: str, pid: int, process: Process, exec_id: str) -> Running:
        """Prepare a further process in a container's namespaces and control groups; it needs ``release`` too."""

    async def adopt(self, container_id: str) -> Running | ExitStatus | None:
        """Find the process again after the daemon or its shim was killed; None if nothing is known."""

    async def pause(self, container_id: str) -> None: ...

    async def resume(self, container_id: str) -> None: ...

    async def kill_all(self, container_id: str) -> None:
        """Kill every process of the container's control group."""

    async def discard(self, container_id: str) -> None:
        """Remove control groups, mounts and run files of a container that has ended."""

    def pids(self, container_id: str) -> Sequence[int]:
        """Return the host's ids of all processes in the container."""

    async def close(self) -> None:
        """Stop the zygote; shims and containers go on."""
