"""``start``, ``stop``, ``restart``, ``kill``, ``pause``, ``unpause``, ``rm`` and ``wait``."""

from __future__ import annotations

import sys

from netd.cli.compose.acting.event_display import DONE
from netd.cli.compose.acting.ordered_jobs import run_all, run_ordered
from netd.cli.compose.acting.project_containers import project_containers
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.compose.acting.start_phase import Starter
from netd.cli.compose.acting.stop_phase import Stopper
from netd.cli.errors import ApiFault, Fault
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import print_line
from netd.compose.plan.dependencies import closure, edges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.parse.flags import Flag, Options
    from netd.cli.session import Session
    from netd.compose.plan.dependencies import Edges
    from netd.compose.plan.existing import ExistingContainer


def start(session: Session, options: Options) -> int:
    """Start containers, after those of the services that they depend on."""
    context = ComposeContext(session, options)
    active = context.find(options.args)
    selected = active.services(options.args)
    keys = closure(_edges_of(active, list(active.project.services)), selected)
    found = _by_service(project_containers(context.engine, active.name))
    for key in selected:
        if key not in found and active.project.services[key].replicas():
            raise Fault(f'service "{key}" has no container to start: create it with compose up or compose create')
    with context.display() as display:
        starter = Starter(
            context, active, display, found, wait_seconds=options.number("wait-timeout") if options.on("wait") else None
        )
        run_ordered(_edges_of(active, keys), starter.start, context.cancellation, context.limit)
        if options.on("wait"):
            run_all(keys, starter.wait_until_up, context.cancellation, context.limit)
    return 0


def stop(session: Session, options: Options) -> int:
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = active.services(options.args)
    found = project_containers(context.engine, active.name, keys)
    with context.display() as display:
        stopper = Stopper(context, display, options.number("timeout"))
        stopper.in_reverse_order(active.project, found, stopper.stop)
    return 0


def restart(session: Session, options: Options) -> int:
    """Restart containers, and those of services that ask to be restarted with them."""
    context = ComposeContext(session, options)
    active = context.find()
    if not active.project.services.keys() >= set(options.args):
        active = context.find(options.args)  # To enable the profiles of those services.
    keys = active.services(options.args)
    if not options.on("no-deps"):
        keys = sorted({*keys, *_restarted_with(active, keys)})
    found = _by_service(project_containers(context.engine, active.name, keys))
    _require_containers(active, options, found)
    _restart(context, active, keys, found, options.text("timeout"))
    return 0


def restart_services(context: ComposeContext, active: ActiveProject, services: list[str]) -> None:
    """Restart the containers of services, and those of services that ask to be restarted with them.  Raises Fault."""
    keys = sorted({*services, *_restarted_with(active, services)})
    _restart(context, active, keys, _by_service(project_containers(context.engine, active.name, keys)), "")


def _restart(
    context: ComposeContext,
    active: ActiveProject,
    keys: list[str],
    found: dict[str, list[ExistingContainer]],
    seconds: str,
) -> None:
    with context.display() as display:

        def job(key: str) -> None:
            for container in found.get(key, ()):
                display.event(f"Container {container.name}", "Restarting")
                path = f"/containers/{container.id}/restart"
                context.engine.call("POST", path, query=(("t", seconds),)).close()
                display.event(f"Container {container.name}", "Started", DONE)

        run_ordered(_edges_of(active, keys), job, context.cancellation, context.limit)


def kill(session: Session, options: Options) -> int:
    query = (("signal", options.text("signal", "SIGKILL")),)
    return _each(session, options, "kill", "Killing", "Killed", query, orphans=options.on("remove-orphans"))


def pause(session: Session, options: Options) -> int:
    return _each(session, options, "pause", "Pausing", "Paused", states=("running",))


def unpause(session: Session, options: Options) -> int:
    return _each(session, options, "unpause", "Unpausing", "Unpaused", states=("paused",))


def remove(session: Session, options: Options) -> int:
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = active.services(options.args)
    found = project_containers(context.engine, active.name, keys, one_off=None)
    with context.display() as display:
        stopper = Stopper(context, display, None)
        if options.on("stop"):
            stopper.in_reverse_order(active.project, found, stopper.stop)
        else:
            found = [container for container in found if not container.running]
        if not found:
            sys.stderr.write("No stopped containers\n")
            return 0
        if not options.on("force") and not _agrees(found):
            return 0
        by_id = {container.id: container for container in found}
        volumes = options.on("volumes")
        run_all(list(by_id), lambda id: stopper.remove(by_id[id], volumes=volumes), context.cancellation, context.limit)
    return 0


def wait(session: Session, options: Options) -> int:
    """Print the exit codes of the services' containers; return the last of them."""
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = active.services(options.args)
    found = project_containers(context.engine, active.name, keys)
    if not found:
        raise Fault(f"no containers for project {active.name!r}: start them with compose up")
    requests = [context.engine.send("POST", f"/containers/{container.id}/wait") for container in found]
    code = 0
    for container, request in zip(found, requests, strict=True):
        code = int(request.response().json()["StatusCode"])
        print_line(f'container "{container.name}" exited with status code {code}')
        sys.stdout.flush()
        if options.on("down-project"):
            break
    if options.on("down-project"):
        from netd.cli.compose.down import COMMANDS as down
        from netd.cli.parse.flags import parse

        flags = parse([], down["compose down"].flags)
        flags.outer = options.outer
        down["compose down"].run(session, flags)
    return code


def _each(
    session: Session,
    options: Options,
    verb: str,
    doing: str,
    done: str,
    query: tuple[tuple[str, str], ...] = (),
    *,
    states: tuple[str, ...] = (),
    orphans: bool = False,
) -> int:
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = active.services(options.args)
    found = project_containers(context.engine, active.name, stopped=False, one_off=None if orphans else False)
    chosen = {
        container.id: container
        for container in found
        if (container.service in keys or (orphans and not options.args)) and (not states or container.state in states)
    }
    with context.display() as display:

        def job(id: str) -> None:
            subject = f"Container {chosen[id].name}"
            display.event(subject, doing)
            try:
                context.engine.call("POST", f"/containers/{id}/{verb}", query=query).close()
            except ApiFault as fault:
                raise Fault(f'service "{chosen[id].service}": {fault.message}') from None
            display.event(subject, done, DONE)

        run_all(list(chosen), job, context.cancellation, context.limit)
    return 0


def _restarted_with(active: ActiveProject, keys: list[str]) -> list[str]:
    services = active.project.services
    return [
        other
        for other, service in services.items()
        if any(key in service.depends_on and service.depends_on[key].restart for key in keys)
    ]


def _require_containers(active: ActiveProject, options: Options, found: dict[str, list[ExistingContainer]]) -> None:
    for key in options.args:
        if key not in found:
            raise Fault(f'service "{key}" has no container to restart: create it with compose up')


def _edges_of(active: ActiveProject, keys: list[str]) -> Edges:
    try:
        found = edges(active.project.services)
    except ValueError:  # services that only labels name may form a cycle
        found = dict.fromkeys(keys, frozenset())
    return {key: found[key] & set(keys) for key in keys}


def _by_service(containers: list[ExistingContainer]) -> dict[str, list[ExistingContainer]]:
    found: dict[str, list[ExistingContainer]] = {}
    for container in containers:
        found.setdefault(container.service, []).append(container)
    return found


def _agrees(found: list[ExistingContainer]) -> bool:
    names = ", ".join(container.name for container in found)
    sys.stderr.write(f"? Going to remove {names} [yN] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


_TIMEOUT = text("timeout", "t", "SECONDS", "Seconds before containers that do not stop are killed")
_WAIT = (
    switch("wait", "", "Wait until the services run and are healthy"),
    text("wait-timeout", "", "SECONDS", "Longest time to wait with --wait"),
)


def _command(name: str, run: Callable[[Session, Options], int], *flags: Flag) -> Command:
    return Command(f"compose {name} [FLAGS] [SERVICE...]", run, flags, completions=("service",))


COMMANDS = {
    "compose start": _command("start", start, *_WAIT),
    "compose stop": _command("stop", stop, _TIMEOUT),
    "compose restart": _command(
        "restart", restart, _TIMEOUT, switch("no-deps", "", "Do not restart the services that depend on those")
    ),
    "compose kill": _command(
        "kill",
        kill,
        text("signal", "s", "SIGNAL", "Signal to send (SIGKILL)"),
        switch("remove-orphans", "", "Send it to containers of services that the file does not have as well"),
    ),
    "compose pause": _command("pause", pause),
    "compose unpause": _command("unpause", unpause),
    "compose rm": _command(
        "rm",
        remove,
        switch("force", "f", "Do not ask"),
        switch("stop", "s", "Stop the containers first"),
        switch("volumes", "v", "Remove anonymous volumes as well"),
    ),
    "compose wait": _command(
        "wait", wait, switch("down-project", "", "Take the project down when the first has ended")
    ),
}
