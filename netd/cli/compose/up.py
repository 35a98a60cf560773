"""``up``, ``create`` and ``scale``."""

from __future__ import annotations

from netd.cli.compose.acting.bring_up import BringUp, UpSettings
from netd.cli.compose.acting.project_context import ComposeContext, environment_switch
from netd.cli.compose.acting.stop_phase import Stopper
from netd.cli.errors import ApiFault, UsageFault
from netd.cli.parse.flags import Command, many, switch, text
from netd.compose.plan.service_plan import DIVERGED, FORCE, NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netd.cli.compose.acting.attached_session import AttachedSession
    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.compose.watching.background_watch import BackgroundWatch
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.plan.existing import ExistingContainer

_CONFLICTS = (
    ("force-recreate", "no-recreate"),
    ("always-recreate-deps", "no-recreate"),
    ("build", "no-build"),
    ("detach", "abort-on-container-exit"),
    ("detach", "abort-on-container-failure"),
    ("detach", "exit-code-from"),
    ("detach", "attach"),
    ("abort-on-container-exit", "abort-on-container-failure"),
    ("attach", "attach-dependencies"),
    ("wait", "abort-on-container-exit"),
    ("wait", "exit-code-from"),
)


def up(session: Session, options: Options) -> int:
    """Create and start; attached, return the exit code that the flags select, and 130 after an interruption."""
    _check_conflicts(options)
    context = ComposeContext(session, options)
    active = context.load(options.args)
    if options.on("watch"):
        _refuse_watching(options)
    _apply_scale(active, options.many("scale"))
    detached = options.on("detach") or options.on("wait") or options.on("no-start")
    bring_up = BringUp(context, active, _settings(options))
    if detached or context.dry_run:
        bring_up.create()
        if not options.on("no-start"):
            bring_up.start()
        return 0
    return _attached(context, active, options, bring_up)


def create(session: Session, options: Options) -> int:
    _check_conflicts(options)
    context = ComposeContext(session, options)
    active = context.load(options.args)
    _apply_scale(active, options.many("scale"))
    BringUp(context, active, _settings(options)).create()
    return 0


def scale(session: Session, options: Options) -> int:
    context = ComposeContext(session, options)
    active = context.load([word.partition("=")[0] for word in options.args])
    _apply_scale(active, options.args)
    settings = _settings(options)
    settings.services = [word.partition("=")[0] for word in options.args]
    settings.policy = settings.dependency_policy = NEVER
    bring_up = BringUp(context, active, settings)
    bring_up.create()
    bring_up.start()
    return 0


def _attached(context: ComposeContext, active: ActiveProject, options: Options, bring_up: BringUp) -> int:
    from netd.cli.compose.acting.attached_session import AttachedSession
    from netd.cli.compose.acting.log_printer import LogPrinter

    shown = _shown_services(active, options, bring_up)
    colours = context.colours() and not options.on("no-color")
    code_from = options.text("exit-code-from")
    if code_from:
        active.services([code_from])
    abort = "exit" if options.on("abort-on-container-exit") or code_from else ""
    session = AttachedSession(
        context,
        active,
        LogPrinter(colours=colours, prefix=not options.on("no-log-prefix")),
        shown,
        timestamps=options.on("timestamps"),
        abort=abort or ("failure" if options.on("abort-on-container-failure") else ""),
        code_from=code_from,
    )
    watching = _watching(context, active, bring_up, session, options)
    bring_up.create()
    bring_up.display.become_plain()
    containers = bring_up.all_containers()
    session.begin(containers)

    def start() -> None:
        bring_up.start(session.expect, session.follow)
        if watching is not None and options.on("watch"):
            watching.toggle()

    def stop() -> None:
        if watching is not None:
            watching.end()
        _stop_all(context, active, _current(context, active, containers), options.number("timeout"))

    def kill() -> None:
        for container in _current(context, active, containers):
            try:
                context.engine.call("POST", f"/containers/{container.id}/kill").close()
            except ApiFault:
                continue  # It does not run any more.

    if options.on("menu", environment_switch("COMPOSE_MENU")):
        from netd.cli.compose.watching.keyboard_menu import keyboard_menu

        with keyboard_menu(session, watching):
            return session.run(start, stop, kill)
    return session.run(start, stop, kill)


def _refuse_watching(options: Options) -> None:
    for name in ("detach", "wait", "no-start", "no-build"):
        if options.on(name):
            raise UsageFault(f"--watch and --{name} are incompatible")


def _watching(
    context: ComposeContext, active: ActiveProject, bring_up: BringUp, session: AttachedSession, options: Options
) -> BackgroundWatch | None:
    """Return what watches files during the session; None if no service is configured for it, and it was not asked for.

    With ``--watch`` the images of the watched services are built first.
    """
    chosen = [key for key in bring_up.selected if (develop := active.project.services[key].develop) and develop.watch]
    if not (options.on("watch") or (chosen and options.on("menu", environment_switch("COMPOSE_MENU")))):
        return None
    from netd.cli.compose.lifecycle import restart_services
    from netd.cli.compose.watching.background_watch import BackgroundWatch
    from netd.cli.compose.watching.watch_session import WatchSession

    watching = WatchSession(
        context,
        active,
        bring_up.selected,
        show=session.notice,
        restart=lambda services: restart_services(context, active, services),
        quiet=options.on("quiet-build"),
    )
    if options.on("watch"):
        watching.build_first()
    session.replacing = lambda: watching.acting
    return BackgroundWatch(watching, session.notice)


def _current(
    context: ComposeContext, active: ActiveProject, containers: Sequence[ExistingContainer]
) -> list[ExistingContainer]:
    """Return the containers of the services of *containers* as they are now: some may have been replaced."""
    from netd.cli.compose.acting.project_containers import project_containers

    services = {container.service for container in containers}
    return project_containers(context.engine, active.name, services) if services else []


def _shown_services(active: ActiveProject, options: Options, bring_up: BringUp) -> list[str]:
    wanted = options.many("attach") or (
        list(active.project.services) if options.on("attach-dependencies") else bring_up.selected
    )
    hidden = set(options.many("no-attach"))
    active.services([*options.many("attach"), *hidden])
    services = active.project.services
    return [
        key for key in wanted if key not in hidden and (options.many("attach") or services[key].attach is not False)
    ]


def _stop_all(
    context: ComposeContext, active: ActiveProject, containers: Iterable[ExistingContainer], timeout: int | None
) -> None:
    """Stop all containers in reverse order; further interruptions are the caller's business."""
    import msgspec

    from netd.cli.compose.acting.ordered_jobs import Cancellation

    context.cancellation = Cancellation()
    with context.display() as display:
        display.become_plain()
        stopper = Stopper(context, display, timeout)
        running = [msgspec.structs.replace(container, state="running") for container in containers]
        stopper.in_reverse_order(active.project, running, stopper.stop)


def _settings(options: Options) -> UpSettings:
    policy = FORCE if options.on("force-recreate") else NEVER if options.on("no-recreate") else DIVERGED
    remove = options.on("remove-orphans") or environment_switch("COMPOSE_REMOVE_ORPHANS")
    pull = options.text("pull", "policy")
    if pull not in ("policy", "always", "missing", "never", "build"):
        raise options.refuse("pull", pull, "use always, missing, never or policy")
    return UpSettings(
        services=options.args,
        with_dependencies=not options.on("no-deps"),
        policy=policy,
        dependency_policy=FORCE if options.on("always-recreate-deps") else NEVER if policy == NEVER else DIVERGED,
        remove_orphans=remove,
        ignore_orphans=environment_switch("COMPOSE_IGNORE_ORPHANS"),
        build=True if options.on("build") else False if options.on("no-build") else None,
        pull="" if pull == "policy" else pull,
        quiet_pull=options.on("quiet-pull"),
        quiet_build=options.on("quiet-build"),
        inherit=not options.on("renew-anon-volumes"),
        timeout=options.number("timeout"),
        wait=options.on("wait"),
        wait_timeout=options.number("wait-timeout"),
        assume_yes=options.on("yes"),
    )


def _apply_scale(active: ActiveProject, words: Iterable[str]) -> None:
    for word in words:
        key, equals, number = word.partition("=")
        if not equals or not (number.isascii() and number.isdigit() and len(number) < 6):
            raise UsageFault(f"invalid scale specifier: {word}; use SERVICE=NUMBER")
        active.services([key])
        service = active.project.services[key]
        service.scale = int(number)
        if service.deploy is not None:
            service.deploy.replicas = int(number)


def _check_conflicts(options: Options) -> None:
    for first, second in _CONFLICTS:
        if options.on(first) and (options.on(second) or (options.text(second) not in ("", "false"))):
            raise UsageFault(f"--{first} and --{second} are incompatible")


_CREATING = (
    switch("build", "", "Build images before containers are created"),
    switch("no-build", "", "Build no images, even if they are missing"),
    text("pull", "", "POLICY", "Pull images: always, missing, never, policy (that of the file)",
         values="words:always missing never policy"),
    switch("quiet-pull", "", "Show no progress of pulls"),
    switch("quiet-build", "", "Show no output of builds"),
    switch("force-recreate", "", "Replace containers even if nothing has changed"),
    switch("no-recreate", "", "Never replace containers"),
    switch("remove-orphans", "", "Remove containers of services that the file does not have"),
    many("scale", "", "SERVICE=NUMBER", "Number of containers of a service"),
    switch("yes", "y", "Answer all questions with yes"),
)  # fmt: skip

COMMANDS = {
    "compose up": Command(
        "compose up [FLAGS] [SERVICE...]",
        up,
        (
            *_CREATING,
            switch("detach", "d", "Run the containers in the background"),
            switch("no-deps", "", "Do not start the services that those depend on"),
            switch("always-recreate-deps", "", "Replace the containers of dependencies as well"),
            switch("renew-anon-volumes", "V", "Give new containers new anonymous volumes"),
            switch("no-start", "", "Create the containers without starting them"),
            switch("wait", "", "Wait until the services run and are healthy; implies -d"),
            text("wait-timeout", "", "SECONDS", "Longest time to wait with --wait"),
            text("timeout", "t", "SECONDS", "Seconds before containers that do not stop are killed"),
            switch("abort-on-container-exit", "", "Stop all containers when the first ends"),
            switch("abort-on-container-failure", "", "Stop all containers when the first fails"),
            text("exit-code-from", "", "SERVICE", "Return the exit code of this service; stop all at the first end",
                 values="service"),
            many("attach", "", "SERVICE", "Print the output of this service only", values="service"),
            many("no-attach", "", "SERVICE", "Do not print the output of this service", values="service"),
            switch("attach-dependencies", "", "Print the output of dependencies as well"),
            switch("no-color", "", "Use no colours"),
            switch("no-log-prefix", "", "Print lines without the name of their container"),
            switch("timestamps", "", "Print the time of each line"),
            switch("menu", "", "Accept keys on the terminal: w watches files, d detaches (COMPOSE_MENU)"),
            switch("watch", "w", "Carry changes of files into the containers (see: compose watch)"),
        ),
        completions=("service",),
    ),
    "compose create": Command(
        "compose create [FLAGS] [SERVICE...]", create, _CREATING, completions=("service",)
    ),
    "compose scale": Command(
        "compose scale [FLAGS] SERVICE=NUMBER...",
        scale,
        (switch("no-deps", "", "Do not start the services that those depend on"),),
        min_args=1,
        completions=("service",),
    ),
}  # fmt: skip
