"""``logs`` and ``events``."""

from __future__ import annotations

import sys

from netd.cli.errors import UsageFault
from netd.cli.output.columns import escape_control
from netd.cli.parse.common_flags import filters, wants_json
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def logs(session: Session, options: Options) -> int:
    from netd.cli.transport.relay import write_all
    from netd.cli.transport.stream_frames import Frames

    name = options.args[0]
    tty = session.engine.get(f"/containers/{name}/json")["Config"]["Tty"]
    query = [("stdout", "1"), ("stderr", "1"), ("tail", _tail(options))]
    query += [(key, "1" if options.on(key) else "") for key in ("follow", "timestamps", "details")]
    query += [(key, _moment(options, key)) for key in ("since", "until")]
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


def events(session: Session, options: Options) -> int:
    """Print one line per event as it occurs, until ``--until`` or Ctrl-C."""
    as_json = wants_json(options)
    query = (("filters", filters(options)), *((key, _moment(options, key)) for key in ("since", "until")))
    for line in session.networks.call("GET", "/events", query=query).lines():
        print_line(line.decode("utf-8", "replace").strip() if as_json else _line(line))
        sys.stdout.flush()
    return 0


def _line(line: bytes) -> str:
    from json import loads

    event = loads(line)
    actor: dict[str, Any] = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    shown = f"{_time(event['timeNano'])} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    return escape_control(f"{shown} ({attributes})" if attributes else shown)


def _time(nanoseconds: int) -> str:
    """Return local time in RFC 3339 format with nine decimals."""
    import time

    seconds, rest = divmod(nanoseconds, 10**9)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{zone[:3]}:{zone[3:]}"


def _moment(options: Options, name: str) -> str:
    value = options.text(name)
    if not value:
        return ""
    import time

    from netd.cli.parse.units import moment

    try:
        return moment(value, time.time())
    except ValueError as error:
        raise options.refuse(name, value, str(error)) from None


_SINCE = text("since", "", "TIME", "Start of the period: a duration such as 10m, Unix seconds, or a date and time")
_UNTIL = text("until", "", "TIME", "End of the period")

COMMANDS = {
    "logs": Command(
        "logs [FLAGS] CONTAINER",
        logs,
        (
            switch("follow", "f", "Follow the output"),
            text("tail", "n", "LINES", "Number of lines from the end (all)"),
            switch("timestamps", "t", "Show the time of each line"),
            switch("details", "", "Show extra attributes of the log driver"),
            _SINCE,
            _UNTIL,
        ),
        min_args=1,
        max_args=1,
        completions=("container",),
    ),
    "events": Command(
        "events [FLAGS]",
        events,
        (
            many("filter", "f", "KEY=VALUE", "Filter the list: type, event, container, network, label …"),
            text(
                "format",
                "",
                "json|table",
                "Output format; json prints one document per line",
                values="words:json table",
            ),
            _SINCE,
            _UNTIL,
        ),
        max_args=0,
    ),
}
