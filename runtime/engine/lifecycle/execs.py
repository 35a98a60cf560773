"""Execs: further processes in running containers.

Exited execs are kept for at least five minutes, but at most 256 per container, so that clients can read their exit
codes.  If a container has 1,024 or more execs that have not exited, the next creation deletes those that were not
started within five minutes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import msgspec

from netd.common import resource_errors
from netd.common.errors import BadRequest, Conflict, NotFound, ServerError
from netd.common.ids import new_id
from netd.common.tasks import Tasks
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.engine.lifecycle import exits
from runtime.engine.lifecycle.start import PROGRAM_ERRORS, link_environment
from runtime.engine.options import detach_keys, process
from runtime.record import ExecConfig
from runtime.shim_client.supervisor import Attachment, Running, Supervisor
from runtime.spec import StartError

_log = logging.getLogger(__name__)
_NOT_STARTED = 126
"""The exit code of an exec that could not be started, as in Docker."""
_KEPT_SECONDS, _MAX_KEPT = 300.0, 256
"""How long, and how many per container, exited execs are kept."""
_SWEEP_INTERVAL = 64
"""Creations between two sweeps of exited execs."""
_MAX_ACTIVE = 1024
"""The number of created and running execs of a container from which on old execs that were not started are deleted."""


@dataclass(slots=True, eq=False)
class Exec:
    id: str
    container: str
    config: ExecConfig
    target: Running | None = None
    """The container's process at the creation; without a start, the exec ends with it."""
    running: Running | None = None
    code: int | None = None
    started: bool = False
    size: tuple[int, int] | None = None
    """(rows, columns) from the start request, or from a resize request before the start."""
    changed_at: float = field(default_factory=time.monotonic)
    """Monotonic time of its creation or, after the exit, of the exit."""


class Execs:
    def __init__(self, containers: Containers, supervisor: Supervisor, tasks: Tasks) -> None:
        self._tasks = tasks
        self._containers = containers
        self._supervisor = supervisor
        self._execs: dict[str, Exec] = {}
        self._created = 0

    async def create(self, container: Container, config: ExecConfig) -> Exec:
        """Return a new exec of *container*, validated but not started."""
        async with container.hold():
            self._check_running(container)
            return self._create(container, config)

    def _create(self, container: Container, config: ExecConfig) -> Exec:
        if not config.cmd:
            raise BadRequest("No exec command specified")
        detach_keys.parse(config.detach_keys)
        process.check_strings("command", config.cmd)
        process.check_environment(config.env or ())
        process.check_user(config.user)
        new_exec = Exec(new_id(), container.id, config, container.running)
        self._sweep()
        self._drop_unstarted(container)
        self._execs[new_exec.id] = new_exec
        container.execs.add(new_exec.id)
        self._publish(container, new_exec, "exec_create")
        return new_exec

    def find(self, identifier: str) -> Exec:
        """Return an exec.  Raises NotFound if it was not started before its container's process ended, as in Docker."""
        exec_ = self._execs.get(identifier)
        container = self._containers.get(exec_.container) if exec_ is not None else None
        if exec_ is None or container is None or (not exec_.started and exec_.target is not container.running):
            raise NotFound(f"No such exec instance: {identifier}")
        return exec_

    def running_in(self, container: Container) -> list[str]:
        """Return the ids of the execs that are running in the container."""
        return [
            key for key in container.execs if (exec_ := self._execs.get(key)) and exec_.running and exec_.code is None
        ]

    async def begin(self, exec_: Exec) -> Container:
        """Mark the exec as started and return its container.  Raises Conflict if it was started before."""
        container = self._containers.find(exec_.container)
        async with container.hold():
            self.find(exec_.id)
            if exec_.started:
                raise Conflict(f"exec {exec_.id} has already been started")
            self._check_running(container)
            exec_.started = True
        return container

    async def start(self, exec_: Exec, *, attached: bool) -> Attachment | None:
        """Start the process after :meth:`begin`.  Raises StartError, whose code becomes the exec's exit code.

        Raises NotFound if the container's process has ended.
        """
        container = self._containers.find(exec_.container)
        async with container.hold():
            container.exec_starts += 1
        try:
            return await self._start(container, exec_, attached)
        except BaseException:
            exec_.running = None
            raise
        finally:
            container.exec_starts -= 1
            container.end_transition()

    async def _start(self, container: Container, exec_: Exec, attached: bool) -> Attachment | None:
        try:
            running, streams = await self._run(container, exec_, attached)
        except StartError as error:
            self._record_exit(container, exec_, error.code)
            if error.code not in PROGRAM_ERRORS and exec_.target and await exits.ends(exec_.target):
                raise NotFound(f"No such exec instance: {exec_.id}") from error
            raise
        except ProcessLookupError as error:
            self._record_exit(container, exec_, _NOT_STARTED)
            raise StartError(str(error), _NOT_STARTED) from error
        except OSError as error:
            self._record_exit(container, exec_, _NOT_STARTED)
            what = "cannot start the exec"
            raise resource_errors.problem(error, what) or ServerError(f"{what}: {error}") from error
        except BaseException:
            self._record_exit(container, exec_, _NOT_STARTED)
            raise
        self._publish(container, exec_, "exec_start")
        self._tasks.start(self._watch(container, exec_, running), f"exec {exec_.id[:12]}")
        return streams

    def _publish(self, container: Container, exec_: Exec, action: str) -> None:
        """Publish an event with the command as Docker writes it: a space follows the program also without arguments."""
        program, *arguments = exec_.config.cmd or [""]
        self._containers.publish_event(container, f"{action}: {program} {' '.join(arguments)}", execID=exec_.id)

    async def _run(self, container: Container, exec_: Exec, attached: bool) -> tuple[Running, Attachment | None]:
        self._check_running(container)
        assert container.running is not None
        config = exec_.config
        with_size = msgspec.structs.replace(config, console_size=list(exec_.size)) if exec_.size else config
        links = link_environment(self._containers, container)
        spec = process.exec_process(container.record, with_size, container.record.config.hostname, links)
        running = exec_.running = await self._supervisor.exec(container.id, container.running.pid, spec, exec_.id)
        streams = None
        if attached:
            try:
                streams = await running.attach(
                    stdin=config.attach_stdin, stdout=config.attach_stdout, stderr=config.attach_stderr
                )
            except BaseException:
                await self._supervisor.cancel(running)
                raise
        try:
            await self._supervisor.release(running)
        except BaseException:
            if streams is not None:
                await streams.close()
            raise
        return running, streams

    async def _watch(self, container: Container, exec_: Exec, running: Running) -> None:
        status = await running.wait()
        self._record_exit(container, exec_, status.code)
        self._containers.publish_event(container, "exec_die", execID=exec_.id, exitCode=str(status.code))

    async def resize(self, exec_: Exec, rows: int, columns: int) -> None:
        """Set the size of the terminal; before the start, the size is kept for the start."""
        if exec_.code is not None:
            raise NotFound(f"NotFound: process does not exist {exec_.id}: not found")
        if exec_.running is None:
            exec_.size = (rows, columns)
            return
        await exec_.running.resize(rows, columns)

    def _check_running(self, container: Container) -> None:
        if container.record.state.status == "paused":
            raise Conflict(f"Container {container.record.name} is paused, unpause the container before exec")
        container.check_not_restarting()
        if container.running is None:
            raise Conflict(f"container {container.id} is not running")

    def _record_exit(self, container: Container, exec_: Exec, code: int) -> None:
        """Record the exit code, and delete the oldest exited exec if the container has too many."""
        exec_.code, exec_.changed_at = code, time.monotonic()
        container.execs.discard(exec_.id)
        container.exited_execs.append(exec_.id)
        if len(container.exited_execs) > _MAX_KEPT:
            self._execs.pop(container.exited_execs.popleft(), None)

    def _sweep(self) -> None:
        """At every 64th creation, delete execs that exited long ago and those whose container is removed."""
        self._created += 1
        if self._created % _SWEEP_INTERVAL == 0:
            limit = time.monotonic() - _KEPT_SECONDS
            self._execs = {
                key: exec_
                for key, exec_ in self._execs.items()
                if self._containers.get(exec_.container) and (exec_.code is None or exec_.changed_at > limit)
            }

    def _drop_unstarted(self, container: Container) -> None:
        if len(container.execs) < _MAX_ACTIVE:
            return
        limit = time.monotonic() - _KEPT_SECONDS
        for key in [
            key for key in container.execs if not (exec_ := self._execs[key]).started and exec_.changed_at < limit
        ]:
            container.execs.discard(key)
            del self._execs[key]
