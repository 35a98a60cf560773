"""``logs``: the output of a container."""

from __future__ import annotations

from netd.cli.errors import UsageFault
from netd.cli.parse.flags import Command, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def logs(session: Session, options: Options) -> int:
    from netd.cli.signal_waits import write_all
    from netd.cli.transport.stream_frames import Frames

    name = options.args[0]
    tty = session.engine.get(f"/containers/{name}/json")["Config"]["Tty"]
    query = [("stdout", "1"), ("stderr", "1"), ("tail", _tail(options))]
    query += [(key, "1" if options.on(key) else "") for key in ("follow", "timestamps", "details")]
    query += [(key, moment_of(options, key)) for key in ("since", "until")]
    frames = Frames()
    for chunk in session.engine.call("GET", f"/containers/{name}/logs", query=query).chunks():
        for stream, piece in ((1, chunk),) if tty else frames.feed(chunk):
            write_all(2 if stream == 2 else 1, piece)
    return 0


def _tail(options: Options) -> str:
    found = options.text("tail", "all")
    if found != "all" and not (found.isascii() and found.lstrip("-").isdigit()):
        raise UsageFault(f'invalid argument {found!r} for "-n, --tail" flag: use a number of lines, or all')
    return found


def moment_of(options: Options, name: str) -> str:
    """Return the time of a flag as the query parameter of the API, "" if it was not given.  Raises UsageFault."""
    value = options.text(name)
    if not value:
        return ""
    import time

    from netd.cli.parse.units import moment

    try:
        return moment(value, time.time())
    except ValueError as error:
        raise options.refuse(name, value, str(error)) from None


SINCE = text("since", "", "TIME", "Start of the period: a duration such as 10m, Unix seconds, or a date and time")
UNTIL = text("until", "", "TIME", "End of the period")

COMMANDS = {
    "logs": Command(
        "logs [FLAGS] CONTAINER",
        logs,
        (
            switch("follow", "f", "Follow the output"),
            text("tail", "n", "LINES", "Number of lines from the end (all)"),
            switch("timestamps", "t", "Show the time of each line"),
            switch("details", "", "Show extra attributes of the log driver"),
            SINCE,
            UNTIL,
        ),
        min_args=1,
        max_args=1,
        completions=("container",),
    ),
}
