"""The attached form of ``up``: prints the output of containers until they end or the user interrupts."""

from __future__ import annotations

import time

from netd.cli.compose.acting.log_follow import ContainerEvent, LogEnd, LogFollower, LogLine
from netd.cli.compose.acting.log_printer import LogPrinter, display_name
from netd.cli.compose.acting.project_containers import label_filter
from netd.cli.errors import ApiFault, Fault
from netd.compose import project_names as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext
    from netd.compose.plan.existing import ExistingContainer

_STOPPED_STATES = ("exited", "dead", "created", "removing")


class AttachedSession:
    """*attached* are the services whose output is printed, *required* those whose end ends the session.

    ``abort`` is "exit" or "failure" if the end or the failure of a container stops all of them; ``code_from`` is the
    service whose exit code is returned.
    """

    def __init__(
        self,
        context: ComposeContext,
        active: ActiveProject,
        printer: LogPrinter,
        attached: Iterable[str],
        *,
        timestamps: bool = False,
        abort: str = "",
        code_from: str = "",
    ) -> None:
        self._context, self._engine, self._active = context, context.engine, active
        self._printer, self._attached = printer, frozenset(attached)
        self._abort, self._code_from = abort, code_from
        self._query = (("follow", "1"), ("timestamps", "1" if timestamps else ""))
        self._follower = LogFollower(context.engine)
        self._containers: dict[str, ExistingContainer] = {}
        self._open: set[str] = set()
        """Containers whose output is being read."""
        self._ended: dict[str, int] = {}
        """Exit codes of containers that do not run any more."""
        self._announced: set[str] = set()
        self._code = 0
        self._aborted = False

    def begin(self) -> None:
        """Start to receive events; to be called before the first container is started."""
        words = [f"{names.PROJECT}={self._active.name}", f"{names.ONE_OFF}=False"]
        import json

        filters = json.loads(label_filter(words)) | {"type": {"container": True}}
        self._follower.watch(json.dumps(filters))

    def add(self, container: ExistingContainer, since: float | None = None) -> None:
        """Follow a container from *since* (Unix seconds) on; from now on without."""
        self._containers[container.id] = container
        if container.service in self._attached:
            service = self._active.project.services[container.service]
            self._printer.register((self._name(container),))
            self._open.add(container.id)
            moment = f"{time.time() if since is None else since:.9f}"
            self._follower.follow(container, service.tty, (*self._query, ("since", moment)))

    def run(self, stop: Callable[[], None], kill: Callable[[], None]) -> int:
        """Print until all containers have ended; return the exit code.

        *stop* is called in a thread after the first interruption, or when the session is aborted, *kill* after the
        second interruption.
        """
        interruptions = 0
        while not self._finished():
            try:
                self._handle(self._follower.next(), stop)
            except KeyboardInterrupt:
                interruptions += 1
                self._printer.note("Gracefully stopping... (press Ctrl+C again to force)" * (interruptions == 1))
                _in_thread(stop if interruptions == 1 else kill)
        if interruptions:
            return 130
        return self._code

    def _finished(self) -> bool:
        return not self._open and all(id in self._ended for id in self._containers)

    def _handle(self, message: LogLine | LogEnd | ContainerEvent | None, stop: Callable[[], None]) -> None:
        if message is None:
            raise Fault("lost the connection to the daemon; the containers keep running, see netctl compose ps")
        if isinstance(message, LogLine):
            container = self._containers[message.container]
            self._printer.line(self._name(container), message.data, error=message.error)
        elif isinstance(message, LogEnd):
            self._open.discard(message.container)
            if message.fault:
                self._printer.status(self._name(self._containers[message.container]), f"has no log: {message.fault}")
            self._announce(message.container, stop)
        elif message.container in self._containers:
            self._on_event(message, stop)

    def _on_event(self, event: ContainerEvent, stop: Callable[[], None]) -> None:
        if event.action == "start" and event.container in self._announced:
            self._ended.pop(event.container, None)
            self._announced.discard(event.container)
            self.add(self._containers[event.container], since=event.nanoseconds / 1e9)
        elif event.action == "start":
            self._ended.pop(event.container, None)
        elif event.action == "die":
            code = event.attributes.get("exitCode", "0")
            self._ended[event.container] = int(code) if code.isascii() and code.isdigit() and len(code) < 5 else 1
            self._announce(event.container, stop)
        elif event.action == "destroy":
            self._ended.setdefault(event.container, 0)

    def _announce(self, id: str, stop: Callable[[], None]) -> None:
        """Print the exit code of a container that has ended and whose output has been printed."""
        if id in self._open or id not in self._ended or id in self._announced:
            return
        container, code = self._containers[id], self._ended[id]
        self._announced.add(id)
        if container.service in self._attached:
            self._printer.status(self._name(container), f"exited with code {code}")
        if self._will_restart(id):
            del self._ended[id]
            return
        if container.service == self._code_from:
            self._code = code
        if not self._aborted and (self._abort == "exit" or (self._abort == "failure" and code)):
            self._aborted = True
            self._code = self._code if self._code_from else code
            self._printer.note("Aborting on container exit...")
            _in_thread(stop)

    def _will_restart(self, id: str) -> bool:
        if self._aborted:
            return False
        try:
            state = self._engine.get(f"/containers/{id}/json")["State"]
        except ApiFault:
            return False
        return state["Status"] not in _STOPPED_STATES

    def _name(self, container: ExistingContainer) -> str:
        return display_name(container.name, self._active.name)


def _in_thread(act: Callable[[], None]) -> None:
    import threading

    threading.Thread(target=act, daemon=True).start()
