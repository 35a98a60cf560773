"""``watch``: brings services up, and carries changes of files into them until it is interrupted."""

from __future__ import annotations

from netd.cli.compose.acting.bring_up import BringUp, UpSettings
from netd.cli.compose.acting.log_printer import LogPrinter
from netd.cli.compose.acting.project_context import ComposeContext, environment_switch
from netd.cli.compose.lifecycle import restart_services
from netd.cli.parse.flags import Command, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def watch(session: Session, options: Options) -> int:
    """Return 130 after an interruption, which leaves the containers running."""
    from netd.cli import signal_waits
    from netd.cli.compose.watching.watch_session import WatchSession

    context = ComposeContext(session, options)
    active = context.load(options.args)
    watching = WatchSession(
        context,
        active,
        active.services(options.args),
        show=LogPrinter.output,
        restart=lambda services: restart_services(context, active, services),
        prune=options.on("prune", True),
        quiet=options.on("quiet"),
    )
    if not options.on("no-up"):
        watching.build_first()
        orphans = environment_switch("COMPOSE_IGNORE_ORPHANS")
        settings = UpSettings(services=options.args, quiet_build=options.on("quiet"), ignore_orphans=orphans)
        bring_up = BringUp(context, active, settings)
        bring_up.create()
        bring_up.start()
    if not context.dry_run:
        watching.run(lambda fd, milliseconds: signal_waits.wait(fd, signal_waits.READABLE, milliseconds))
    return 0


COMMANDS = {
    "compose watch": Command(
        "compose watch [FLAGS] [SERVICE...]",
        watch,
        (
            switch("no-up", "", "Do not build and start the services first"),
            switch("prune", "", "Remove images that a rebuild has replaced (true)"),
            switch("quiet", "", "Show no output of builds"),
        ),
        completions=("service",),
    )
}
