"""The verb ``update``: resource limits and restart policy of containers."""

from __future__ import annotations

from netd.cli.errors import UsageFault
from netd.cli.parse.flags import Command
from netd.cli.parse.resource_flags import LIMITS, RESTART, limits, restart_policy
from netd.cli.session import print_line, request_each, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def update(session: Session, options: Options) -> int:
    body = limits(options)
    if options.text("restart"):
        body["RestartPolicy"] = restart_policy(options)
    if not any(body.values()):
        raise UsageFault("nothing to update: give at least one flag, such as --memory 100m")
    return request_each(
        options.args, lambda name: session.engine.send("POST", f"/containers/{name}/update", body=body), _show
    )


def _show(name: str, response: Any) -> None:
    for warning in response.get("Warnings") or ():
        warn(f"warning: {warning}")
    print_line(name)


COMMANDS = {
    "update": Command(
        "update FLAGS CONTAINER [CONTAINER...]", update, (*LIMITS, RESTART), min_args=1, completions=("container",)
    ),
}
