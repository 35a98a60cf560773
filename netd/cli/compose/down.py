"""``down``: stops and removes containers and networks, on request also volumes and images."""

from __future__ import annotations

from netd.cli.compose.acting.project_containers import label_filter, project_containers
from netd.cli.compose.acting.project_context import ComposeContext, environment_switch
from netd.cli.compose.acting.project_objects import ProjectObjects, remove_object
from netd.cli.compose.acting.stop_phase import Stopper
from netd.cli.parse.flags import Command, switch, text
from netd.compose import project_names as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.compose.acting.event_display import EventDisplay
    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.plan.existing import ExistingContainer


def down(session: Session, options: Options) -> int:
    """Remove what the project has; with services as arguments, only their containers."""
    images = options.text("rmi")
    if images not in ("", "all", "local"):
        raise options.refuse("rmi", images, "use all or local")
    context = ComposeContext(session, options)
    active = context.find()
    wanted = set(active.services(options.args)) if options.args else set()
    orphans = options.on("remove-orphans") or environment_switch("COMPOSE_REMOVE_ORPHANS")
    found = project_containers(context.engine, active.name, one_off=None if orphans else False)
    known = active.project.services
    chosen = [
        container
        for container in found
        if (container.service in known or orphans) and (not wanted or container.service in wanted)
    ]
    with context.display() as display:
        removed = _remove_containers(context, active, display, chosen, options)
        if not options.args:
            removed |= _remove_objects(context, active, display, options)
        if images:
            removed |= _remove_images(context, active, display, images, sorted(wanted or known))
        if not removed:
            display.warn(f'No resource found to remove for project "{active.name}".')
    return 0


def _remove_containers(
    context: ComposeContext,
    active: ActiveProject,
    display: EventDisplay,
    chosen: list[ExistingContainer],
    options: Options,
) -> bool:
    stopper = Stopper(context, display, options.number("timeout"))
    volumes = options.on("volumes")
    stopper.in_reverse_order(
        active.project,
        chosen,
        lambda container, service: stopper.stop_and_remove(container, service, volumes=volumes),
    )
    return bool(chosen)


def _remove_objects(context: ComposeContext, active: ActiveProject, display: EventDisplay, options: Options) -> bool:
    objects = ProjectObjects(context.engine, active.project, None, display)
    removed = objects.remove_networks()
    if options.on("volumes"):
        removed |= objects.remove_volumes()
    return removed


def _remove_images(
    context: ComposeContext, active: ActiveProject, display: EventDisplay, which: str, services: list[str]
) -> bool:
    """Remove images of services: with "local" only those whose name is not in the compose file."""
    wanted = dict.fromkeys(
        names.image_name(active.name, key, active.project.services[key], context.between)
        for key in services
        if which == "all" or not active.project.services[key].image
    )
    if not active.files:
        labelled = context.engine.get("/images/json", (("filters", label_filter([f"{names.PROJECT}={active.name}"])),))
        wanted |= dict.fromkeys(name for image in labelled for name in image.get("RepoTags") or ())
    removed = False
    for image in wanted:
        removed |= remove_object(context.engine, display, f"Image {image}", f"/images/{image}", (("noprune", "1"),))
    return removed


COMMANDS = {
    "compose down": Command(
        "compose down [FLAGS] [SERVICE...]",
        down,
        (
            switch("volumes", "v", "Remove the named volumes of the file and anonymous volumes as well"),
            text("rmi", "", "KIND", "Remove images: all, or local for those without a name in the file",
                 values="words:all local"),
            switch("remove-orphans", "", "Remove containers of services that the file does not have"),
            text("timeout", "t", "SECONDS", "Seconds before containers that do not stop are killed"),
        ),
        completions=("service",),
    )
}  # fmt: skip
