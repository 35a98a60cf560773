"""Further programs in running containers.

An exec that has ended is known for five minutes, so that its exit code can be asked for, and at most 256 of a
container are; one that was never started is dropped after as long when a container has too many of them.
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
from runtime.engine.options import detach_keys, process
from runtime.record import ExecConfig
from runtime.shim_client.supervisor import Attachment, Running, Supervisor
from runtime.spec import StartError

_log = logging.getLogger(__name__)
_NOT_STARTED = 126
_KEPT_SECONDS, _KEPT = 300.0, 256
"""Of the ended execs of a container."""
_SWEEP_EACH = 64
_MANY = 1024
"""Execs of a container that have not ended, beyond which those that were not started are dropped."""


@dataclass(slots=True, eq=False)
class Exec:
    id: str
    container: str
    config: ExecConfig
    running: Running | None = None
    code: int | None = None
    started: bool = False
    size: tuple[int, int] | None = None
    """(rows, columns) asked for before there was a terminal."""
    since: float = field(default_factory=time.monotonic)
    """When it was created, and from its end on when it ended."""


class Execs:
    def __init__(self, containers: Containers, supervisor: Supervisor, tasks: Tasks) -> None:
        self._tasks = tasks
        self._containers = containers
        self._supervisor = supervisor
        self._execs: dict[str, Exec] = {}
        self._created = 0

    def create(self, container: Container, config: ExecConfig) -> Exec:
        """Return a new exec of *live*, checked but not started."""
        self._check_running(container)
        if not config.cmd:
            raise BadRequest("No exec command specified")
        detach_keys.parse(config.detach_keys)
        process.check_strings("command", config.cmd)
        process.check_environment(config.env or ())
        process.check_user(config.user)
        made = Exec(new_id(), container.id, config)
        self._sweep()
        self._drop_unstarted(container)
        self._execs[made.id] = made
        container.execs.add(made.id)
        self._containers.tell(container, f"exec_create: {' '.join(config.cmd)}", execID=made.id)
        return made

    def find(self, identifier: str) -> Exec:
        if identifier not in self._execs or self._containers.get(self._execs[identifier].container) is None:
            raise NotFound(f"No such exec instance: {identifier}")
        return self._execs[identifier]

    def of(self, container: Container) -> list[str]:
        """Return the ids of the execs that run in the container now."""
        return [key for key in container.execs if (one := self._execs.get(key)) and one.running and one.code is None]

    def begin(self, one: Exec) -> Container:
        """Claim the exec for its only start and return its container."""
        container = self._containers.find(one.container)
        if one.started:
            raise Conflict(f"exec {one.id} has been started already")
        self._check_running(container)
        one.started = True
        return container

    async def start(self, one: Exec, *, attached: bool) -> Attachment | None:
        """Run the program; claimed with :meth:`begin`.  Raises StartError, whose code the exec then has."""
        container = self._containers.find(one.container)
        try:
            running, streams = await self._run(container, one, attached)
        except StartError as error:
            self._end(container, one, error.code)
            raise
        except ProcessLookupError as error:
            self._end(container, one, _NOT_STARTED)
            raise StartError(str(error), _NOT_STARTED) from error
        except OSError as error:
            one.code = _NOT_STARTED
            what = "cannot start the exec"
            raise resource_errors.problem(error, what) or ServerError(f"{what}: {error}") from error
        except BaseException:
            self._end(container, one, _NOT_STARTED)
            raise
        self._containers.tell(container, f"exec_start: {' '.join(one.config.cmd or ())}", execID=one.id)
        self._tasks.start(self._watch(container, one, running), f"exec {one.id[:12]}")
        return streams

    async def _run(self, container: Container, one: Exec, attached: bool) -> tuple[Running, Attachment | None]:
        self._check_running(container)
        assert container.running is not None
        config = one.config
        sized = msgspec.structs.replace(config, console_size=list(one.size)) if one.size else config
        program = process.further(container.record, sized, container.record.config.hostname)
        running = one.running = await self._supervisor.exec(container.id, container.running.pid, program, one.id)
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

    async def _watch(self, container: Container, one: Exec, running: Running) -> None:
        status = await running.wait()
        self._end(container, one, status.code)
        self._containers.tell(container, "exec_die", execID=one.id, exitCode=str(status.code))

    async def resize(self, one: Exec, rows: int, columns: int) -> None:
        """Set the size of the terminal; asked before there is one, it is given at the start."""
        if one.code is not None:
            raise Conflict(f"exec {one.id} is not running")
        if one.running is None:
            one.size = (rows, columns)
            return
        await one.running.resize(rows, columns)

    def _check_running(self, container: Container) -> None:
        if container.record.state.status == "paused":
            raise Conflict(f"Container {container.record.name} is paused, unpause the container before exec")
        container.refuse_restarting()
        if container.running is None:
            raise Conflict(f"container {container.id} is not running")

    def _end(self, container: Container, one: Exec, code: int) -> None:
        """Record the exit code, and make room for it among the ended execs of the container."""
        one.code, one.since = code, time.monotonic()
        container.execs.discard(one.id)
        container.ended_execs.append(one.id)
        if len(container.ended_execs) > _KEPT:
            self._execs.pop(container.ended_execs.popleft(), None)

    def _sweep(self) -> None:
        """Drop now and then the execs that ended long ago, and those whose container is gone."""
        self._created += 1
        if self._created % _SWEEP_EACH == 0:
            before = time.monotonic() - _KEPT_SECONDS
            self._execs = {
                key: one
                for key, one in self._execs.items()
                if self._containers.get(one.container) and (one.code is None or one.since > before)
            }

    def _drop_unstarted(self, container: Container) -> None:
        if len(container.execs) < _MANY:
            return
        before = time.monotonic() - _KEPT_SECONDS
        for key in [key for key in container.execs if not (one := self._execs[key]).started and one.since < before]:
            container.execs.discard(key)
            del self._execs[key]
