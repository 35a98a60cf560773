"""``events``: the events of both daemons, as they occur."""

from __future__ import annotations

import sys

from netd.cli.commands.logs import SINCE, UNTIL, moment_of
from netd.cli.errors import Fault
from netd.cli.output.columns import escape_control
from netd.cli.parse.common_flags import filters
from netd.cli.parse.filter_flags import EVENTS, filter_flag
from netd.cli.parse.flags import Command, text
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_FIELDS = {"Time": "time", "TimeNano": "timeNano", "Scope": "scope", "Status": "status", "ID": "id", "From": "from"}
"""Fields of templates, and the keys of the API that have other names."""


def events(session: Session, options: Options) -> int:
    """Print one line per event as it occurs, until ``--until`` or Ctrl-C."""
    write = _writer(options.text("format"))
    query = (("filters", filters(options)), *((key, moment_of(options, key)) for key in ("since", "until")))
    for line in session.networks.call("GET", "/events", query=query).lines():
        print_line(write(line))
        sys.stdout.flush()
    return 0


def _writer(form: str) -> Callable[[bytes], str]:
    """Return the function that formats an event.  Raises Fault for a template that is invalid."""
    if form in ("", "table"):
        return _line
    if form in ("json", "{{json .}}"):
        return lambda line: line.decode("utf-8", "replace").strip()
    from netd.cli.output.template import render
    from netd.cli.output.template_parser import parse

    form = form.replace("\\t", "\t").replace("\\n", "\n")
    try:
        parse(form)
    except ValueError as error:
        raise Fault(str(error)) from None

    def rendered(line: bytes) -> str:
        try:
            return render(form, _fields(line))
        except ValueError as error:
            raise Fault(str(error)) from None

    return rendered


def _fields(line: bytes) -> dict[str, Any]:
    from json import loads

    event: dict[str, Any] = loads(line)
    actor: dict[str, Any] = event.get("Actor") or {}
    shown = {name: event.get(key, "") for name, key in _FIELDS.items()}
    return {
        "Type": event.get("Type", ""),
        "Action": event.get("Action", ""),
        "Actor": {"ID": actor.get("ID", ""), "Attributes": actor.get("Attributes") or {}},
        **shown,
        "Status": shown["Status"] or event.get("Action", ""),
        "ID": shown["ID"] or actor.get("ID", ""),
    }


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


COMMANDS = {
    "events": Command(
        "events [FLAGS]",
        events,
        (
            filter_flag(EVENTS),
            text("format", "", "FORMAT", "table, json (an event per line), or a template", values="words:json table"),
            SINCE,
            UNTIL,
        ),
        max_args=0,
    ),
}
