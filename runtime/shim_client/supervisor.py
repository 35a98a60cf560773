"""Protocols by which the daemon starts and controls processes in containers.

``runtime.shim_client.launcher`` implements them by the zygote and shims; the engine uses only the protocols.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

from runtime.spec import ContainerSpec, ExitStatus, Limits, Process


class Attachment(Protocol):
    """One client's attachment to a process's streams.  Closing it does not end the process."""

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (stream, data) up to the last output after the exit; stream 1 is stdout or a terminal, 2 is stderr.

        Raises StreamLost if the output was cut off before.
        """

    async def write(self, data: bytes) -> None:
        """Send to standard input."""

    async def close_stdin(self) -> None: ...

    async def close(self) -> None: ...


class Running(Protocol):
    """A prepared or running process, a container's first or an exec's; survives a restart of the daemon."""

    id: str
    pid: int
    started: str

    async def wait(self) -> ExitStatus:
        """Return the exit status when the process has ended and its output is logged; may be called repeatedly."""

    async def wait_process(self) -> None:
        """Return when the process has ended; its output may not be logged yet."""

    def call_at_end(self, callback: Callable[[], object]) -> None:
        """Call *callback* in the event loop when ``wait_process`` would return; needs no task meanwhile."""

    async def attach(self, *, stdin: bool, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Attach to the output from now on, all of it if attached before ``release``.

        A client that does not read blocks the process if it attached before ``release`` or the process has no log;
        other clients are disconnected.
        """

    async def signal(self, number: int) -> None:
        """Send a signal to the process.  Raises ProcessLookupError if it has ended."""

    async def resize(self, rows: int, columns: int) -> None: ...


class Supervisor(Protocol):
    async def start(self, containers: Collection[str] = ()) -> None:
        """Start the zygote and idle shims, and reconnect to running execs; *containers* are ids that are no execs."""

    async def prepare(self, container: ContainerSpec, network: asyncio.Future[str | None] | None = None) -> Running:
        """Create the container and stop before the execve of its program, so that clients can attach.

        *network*, given if and only if ``container.network_later``, is the path of the network namespace, and is
        awaited beside other steps.  Raises StartError, or the exception of *network*, after everything has been undone.
        """

    async def namespaces(self, first: int, count: int, donor: str, *, network: bool) -> list[int]:
        """Return descriptors of a new user namespace and, with *network*, of a network namespace that it owns.

        Its ids 0 to *count* - 1 are the host's from *first* on.  With *donor*, the path of a user namespace, that
        namespace is used.  The caller closes the descriptors.  Raises StartError.
        """

    async def release(self, running: Running) -> None:
        """Let the prepared process run its program; returns when execve has succeeded.

        Raises StartError (126, 127) if it has failed.
        """

    async def cancel(self, running: Running) -> None:
        """Undo a process that was prepared and not released."""

    async def exec(self, container_id: str, pid: int, process: Process, exec_id: str) -> Running:
        """Prepare a process in the namespaces and control groups of a container; ``release`` starts it."""

    async def adopt(self, container_id: str) -> Running | ExitStatus | None:
        """Reconnect to the process after a restart of the daemon; None if there is no record of it."""

    async def pause(self, container_id: str) -> None: ...

    async def resume(self, container_id: str) -> None: ...

    async def limit(self, container_id: str, limits: Limits) -> None:
        """Set limits of a running container.  Raises OSError that names the refused file and value."""

    async def kill_all(self, container_id: str) -> None:
        """Kill every process of the container's control group."""

    async def discard(self, container_id: str) -> None:
        """Kill a container that still runs, and remove its control group and run files."""

    def pids(self, container_id: str) -> Sequence[int]:
        """Return the host's ids of all processes in the container."""

    async def close(self) -> None:
        """Stop the zygote and idle shims; containers and their shims continue."""
