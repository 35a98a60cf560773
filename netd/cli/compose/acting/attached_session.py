"""The attached form of ``up``: prints the output of containers until they end or the user interrupts."""

from __future__ import annotations

import signal
import threading
import time

from netd.cli.compose.acting.log_follow import (
    ContainerEvent,
    Detachment,
    Interruption,
    LogEnd,
    LogFollower,
    LogLine,
    Notice,
    StartEnd,
)
from netd.cli.compose.acting.log_printer import LogPrinter, display_name
from netd.cli.compose.acting.project_containers import label_filter, project_containers
from netd.cli.errors import ApiFault, Fault
from netd.compose import project_names as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netd.cli.compose.acting.log_follow import Message
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
        self._starting = True
        self._interruptions = 0
        self._since: dict[str, float] = {}
        """Unix times from which the output of containers is printed."""
        self._followed: set[str] = set()
        self._stop: Callable[[], None] = lambda: None
        self._kill: Callable[[], None] = lambda: None
        self._stopping: threading.Thread | None = None
        self._detached = False
        self.replacing: Callable[[], bool] = lambda: False
        """Whether containers are being replaced, whose end does not end the session."""

    def notice(self, text: str = "") -> None:
        """Print a line about the session; may be called by several threads."""
        self._follower.messages.put(Notice(text))

    def detach(self) -> None:
        """End the session and leave the containers running; may be called by several threads."""
        self._follower.messages.put(Detachment())

    def begin(self, containers: Iterable[ExistingContainer]) -> None:
        """Start to receive events, before the first container is started; follow those that run already."""
        from json import dumps, loads

        containers = list(containers)
        shown = [self._name(container) for container in containers if container.service in self._attached]
        self._printer.register(shown)
        if shown:
            self._printer.output(f"Attaching to {', '.join(shown)}")
        words = [f"{names.PROJECT}={self._active.name}", f"{names.ONE_OFF}=False"]
        filters = loads(label_filter(words)) | {"type": {"container": True}}
        self._follower.watch(dumps(filters))
        for container in containers:
            if container.running:
                self.follow(container)

    def expect(self, container: ExistingContainer) -> None:
        """Take note of a container that is about to be started."""
        self._containers[container.id] = container
        self._since[container.id] = time.time()

    def follow(self, container: ExistingContainer) -> None:
        """Print the output of a container that runs: from the start that was expected, else from now on."""
        self._containers[container.id] = container
        self._followed.add(container.id)
        if container.service in self._attached:
            service = self._active.project.services[container.service]
            self._open.add(container.id)
            moment = f"{self._since.pop(container.id, time.time()):.9f}"
            self._follower.follow(container, service.tty, (*self._query, ("since", moment)))

    def run(self, start: Callable[[], None], stop: Callable[[], None], kill: Callable[[], None]) -> int:
        """Call *start* in a thread, print until all containers have ended, and return the exit code.

        *stop* is called in a thread after the first interruption, or when the session is aborted, *kill* after the
        second interruption.  Raises what *start* raises, unless the user has interrupted.
        """
        self._stop, self._kill = stop, kill
        former = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            _in_thread(lambda: self._start(start))
            while self._starting or not self._finished():
                self._handle(self._follower.next())
            if self._stopping is not None:
                self._stopping.join()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        return 130 if self._interruptions else self._code

    def _on_signal(self, number: int, frame: object) -> None:
        """Hand the signal to the main loop; ``put`` may be called at any point of the program."""
        self._follower.messages.put(Interruption())

    def _start(self, start: Callable[[], None]) -> None:
        try:
            start()
        except BaseException as error:
            self._follower.messages.put(StartEnd(error))
        else:
            self._follower.messages.put(StartEnd(None))

    def _interrupt(self) -> None:
        self._interruptions += 1
        if self._interruptions > 1:
            _in_thread(self._kill)
            return
        self._printer.note("Gracefully stopping... (press Ctrl+C again to force)")
        self._stop_all()

    def _stop_all(self) -> None:
        """Stop all containers in a thread, after the end of the thread that starts them."""
        self._context.cancellation.request()
        if self._stopping is None and not self._starting:
            self._stopping = _in_thread(self._stop)

    def _on_start_end(self, error: BaseException | None) -> None:
        self._starting = False
        for id in self._containers.keys() - self._followed:
            del self._containers[id]  # Its start has failed or was not tried.
        if self._interruptions or self._aborted:
            self._stop_all()
        elif error is not None:
            raise error

    def _finished(self) -> bool:
        if self._detached:
            return True
        return not self._open and all(id in self._ended for id in self._containers) and not self.replacing()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Interruption):
            self._interrupt()
        elif isinstance(message, StartEnd):
            self._on_start_end(message.error)
        elif message is None:
            raise Fault("lost the connection to the daemon; the containers keep running, see netctl compose ps")
        elif isinstance(message, LogLine):
            container = self._containers[message.container]
            self._printer.line(self._name(container), message.data, error=message.error)
        elif isinstance(message, LogEnd):
            self._open.discard(message.container)
            if message.fault:
                self._printer.status(self._name(self._containers[message.container]), f"has no log: {message.fault}")
            self._announce(message.container)
        elif isinstance(message, Notice):
            self._printer.output(message.text)
            if not message.text:
                self._follow_new()
        elif isinstance(message, Detachment):
            self._detached = True
        else:
            self._on_event(message)

    def _follow_new(self) -> None:
        """Follow the running containers of the attached services that have replaced others, or were added."""
        for container in project_containers(self._engine, self._active.name, self._attached, stopped=False):
            if container.id not in self._containers and container.service in self._active.project.services:
                self._since[container.id] = container.created
                self.follow(container)

    def _on_event(self, event: ContainerEvent) -> None:
        if event.container not in self._containers:
            if event.action == "start" and not self._starting and not self._interruptions:
                self._follow_new()
        elif event.action == "start" and event.container in self._announced:
            self._ended.pop(event.container, None)
            self._announced.discard(event.container)
            self._since[event.container] = event.nanoseconds / 1e9
            self.follow(self._containers[event.container])
        elif event.action == "start":
            self._ended.pop(event.container, None)
        elif event.action == "die":
            code = event.attributes.get("exitCode", "0")
            self._ended[event.container] = int(code) if code.isascii() and code.isdigit() and len(code) < 5 else 1
            self._announce(event.container)
        elif event.action == "destroy":
            self._ended.setdefault(event.container, 0)

    def _announce(self, id: str) -> None:
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
        if (
            not self._aborted
            and not self.replacing()
            and (self._abort == "exit" or (self._abort == "failure" and code))
        ):
            self._aborted = True
            self._code = self._code if self._code_from else code
            self._printer.note("Aborting on container exit...")
            self._stop_all()

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


def _in_thread(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread
