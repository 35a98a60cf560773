"""The container of a service that a verb acts on."""

from __future__ import annotations

from netd.cli.compose.acting.project_containers import project_containers
from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.compose.acting.project_context import ComposeContext
    from netd.compose.plan.existing import ExistingContainer


def choose_container(
    context: ComposeContext, service: str, number: int | None, *, stopped: bool = False
) -> ExistingContainer:
    """Return the container *number* of *service*, by default the first.  Raises Fault if there is none."""
    active = context.find([service])
    active.services([service])
    found = project_containers(context.engine, active.name, [service], stopped=stopped)
    for container in found:
        if number is None or container.number == number:
            return container
    which = "" if number is None else f" #{number}"
    state = "" if stopped else " is not running; start it with compose up"
    raise Fault(f'service "{service}"{which}{state or " has no container; create it with compose up"}')
