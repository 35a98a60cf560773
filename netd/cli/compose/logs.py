"""``logs``: the output of several containers, each line with the name of its container."""

from __future__ import annotations

import time

from netd.cli.compose.acting.log_follow import ContainerEvent, LogEnd, LogFollower, LogLine
from netd.cli.compose.acting.log_printer import LogPrinter, display_name
from netd.cli.compose.acting.project_containers import label_filter, project_containers
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.errors import Fault
from netd.cli.parse.flags import Command, switch, text
from netd.compose import project_names as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.plan.existing import ExistingContainer


def logs(session: Session, options: Options) -> int:
    """Print the logs, container by container; with ``--follow`` as they are written, until all have ended.

    Both streams go to standard output, as in Docker, so that the output can be searched.
    """
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = active.services(options.args)
    found = project_containers(context.engine, active.name, keys)
    if index := options.number("index"):
        found = [container for container in found if container.number == index]
        if not found:
            raise Fault(f"no container number {index} for service {', '.join(keys)}")
    colours = context.colours() and not options.on("no-color")
    printer = LogPrinter(colours=colours, prefix=not options.on("no-log-prefix"))
    printer.register(display_name(container.name, active.name) for container in found)
    query = _query(options)
    if options.on("follow"):
        return _follow(context, active, printer, found, query)
    for container in found:
        _print(context, active, printer, container, query)
    return 0


def _print(
    context: ComposeContext,
    active: ActiveProject,
    printer: LogPrinter,
    container: ExistingContainer,
    query: list[tuple[str, str]],
) -> None:
    follower = LogFollower(context.engine)
    follower.follow(container, _tty(context, container), query)
    name = display_name(container.name, active.name)
    while isinstance(message := follower.next(), LogLine):
        printer.line(name, message.data)
    fault = getattr(message, "fault", "")
    if fault:
        printer.note(f"{name}: {fault}")


def _follow(
    context: ComposeContext,
    active: ActiveProject,
    printer: LogPrinter,
    found: list[ExistingContainer],
    query: list[tuple[str, str]],
) -> int:
    from json import dumps, loads

    follower = LogFollower(context.engine)
    filters = loads(label_filter([f"{names.PROJECT}={active.name}", f"{names.ONE_OFF}=False"]))
    follower.watch(dumps(filters | {"type": {"container": True}, "event": {"start": True, "die": True}}))
    by_id = {container.id: container for container in found}
    services = {container.service for container in found}
    reading = set(by_id)
    running = {container.id for container in found if container.running}
    for container in found:
        follower.follow(container, _tty(context, container), [*query, ("follow", "1")])
    while reading or running:
        message = follower.next()
        if message is None:
            raise Fault("lost the connection to the daemon")
        if isinstance(message, LogLine):
            printer.line(display_name(by_id[message.container].name, active.name), message.data)
        elif isinstance(message, LogEnd):
            reading.discard(message.container)
        elif not isinstance(message, ContainerEvent):
            continue
        elif message.action == "die":
            running.discard(message.container)
        elif message.container in by_id or message.attributes.get(names.SERVICE) in services:
            running.add(message.container)
            _follow_started(context, active, follower, by_id, reading, message, query)
    return 0


def _follow_started(
    context: ComposeContext,
    active: ActiveProject,
    follower: LogFollower,
    by_id: dict[str, ExistingContainer],
    reading: set[str],
    event: ContainerEvent,
    query: list[tuple[str, str]],
) -> None:
    if event.container in reading:
        return
    if event.container not in by_id:
        now = project_containers(context.engine, active.name)
        by_id |= {container.id: container for container in now if container.id == event.container}
    if event.container in by_id:
        reading.add(event.container)
        since = [("follow", "1"), ("since", f"{event.nanoseconds / 1e9:.9f}")]
        kept = [pair for pair in query if pair[0] == "timestamps"]
        follower.follow(event.container, _tty(context, by_id[event.container]), kept + since)


def _tty(context: ComposeContext, container: ExistingContainer) -> bool:
    return bool(context.engine.get(f"/containers/{container.id}/json")["Config"]["Tty"])


def _query(options: Options) -> list[tuple[str, str]]:
    tail = options.text("tail", "all")
    if tail != "all" and not (tail.isascii() and tail.lstrip("-").isdigit()):
        raise options.refuse("tail", tail, "use a number of lines, or all")
    query = [("tail", tail), ("timestamps", "1" if options.on("timestamps") else "")]
    return query + [(name, moment_of(options, name)) for name in ("since", "until")]


def moment_of(options: Options, name: str) -> str:
    """Return the time of a flag in Unix seconds, "" if it was not given.  Raises UsageFault."""
    from netd.cli.parse.units import moment

    value = options.text(name)
    try:
        return moment(value, time.time()) if value else ""
    except ValueError as error:
        raise options.refuse(name, value, str(error)) from None


COMMANDS = {
    "compose logs": Command(
        "compose logs [FLAGS] [SERVICE...]",
        logs,
        (
            switch("follow", "f", "Follow the output"),
            text("index", "", "NUMBER", "Number of the container, if a service has several"),
            switch("no-color", "", "Use no colours"),
            switch("no-log-prefix", "", "Print lines without the name of their container"),
            text("since", "", "TIME", "Start of the period: a duration such as 10m, Unix seconds, or a date and time"),
            text("until", "", "TIME", "End of the period"),
            text("tail", "n", "LINES", "Number of lines from the end, for each container (all)"),
            switch("timestamps", "t", "Print the time of each line"),
        ),
        completions=("service",),
    )
}
