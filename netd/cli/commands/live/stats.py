"""``stats``: the resource usage of containers, refreshed every second or once."""

from __future__ import annotations

import sys

from netd.cli.commands.live.samples import HEADERS, cpu_share, stats_row
from netd.cli.errors import ApiFault
from netd.cli.parse.common_flags import list_format, show_list
from netd.cli.parse.flags import Command, switch
from netd.cli.session import request_each
from netd.cli.transport.terminal import STDOUT, is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_REFRESH_SECONDS = 1.0
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def stats(session: Session, options: Options) -> int:
    """Print one table with ``--no-stream``, else a new one each second until Ctrl-C."""
    if options.on("no-stream"):
        return _once(session, options)
    _check(session, options)
    live = is_terminal(STDOUT)
    before: dict[str, Json] = {}
    while True:
        samples = _sampled(session, _names(session, options))
        rows = [_row(options, name, sample, cpu_share(sample, before.get(sample["id"]))) for name, sample in samples]
        _print(options, rows, live=live and not options.text("format").startswith(("json", "{{")))
        before = {sample["id"]: sample for _, sample in samples}
        _pause()


def _once(session: Session, options: Options) -> int:
    """Request the samples concurrently, because the daemon measures CPU usage over one second."""
    rows: list[Row] = []

    def add(name: str, sample: Json) -> None:
        rows.append(_row(options, name, sample, cpu_share(sample, {"cpu_stats": sample.get("precpu_stats")})))

    query = (("stream", "false"),)
    code = request_each(
        _names(session, options),
        lambda name: session.engine.send("GET", f"/containers/{name}/stats", query=query),
        add,
    )
    show_list(options, HEADERS, _COLUMNS, rows, "ID")
    return code


def _names(session: Session, options: Options) -> list[str]:
    if options.args:
        return options.args
    query = (("all", "1" if options.on("all") else ""),)
    return [container["Id"] for container in session.engine.get("/containers/json", query)]


def _check(session: Session, options: Options) -> None:
    """Raise ApiFault if a container that the command line names does not exist."""
    for name in options.args:
        session.engine.get(f"/containers/{name}/json")


def _sampled(session: Session, names: list[str]) -> list[tuple[str, Json]]:
    """Return a sample of each container without waiting; containers that are gone are left out."""
    query = (("stream", "false"), ("one-shot", "1"))
    found = []
    for name in names:
        try:
            found.append((name, session.engine.get(f"/containers/{name}/stats", query)))
        except ApiFault:
            continue
    return found


def _row(options: Options, name: str, sample: Json, share: float | None) -> Row:
    return {**stats_row(sample, options.on("no-trunc"), share), "Container": name}


def _print(options: Options, rows: list[Row], *, live: bool) -> None:
    """Print a table; with *live* in place of the last, and only what the terminal has room for."""
    if not live:
        show_list(options, HEADERS, _COLUMNS, rows, "ID")
        sys.stdout.flush()
        return
    from io import StringIO

    height, width = size() or [24, 80]
    text = StringIO()
    show_list(options, HEADERS, _COLUMNS, rows, "ID", output=text)
    lines = text.getvalue().splitlines()[: max(height - 1, 1)]
    sys.stdout.write(_HOME + "".join(f"{line[:width]}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_REST)
    sys.stdout.flush()


def _pause() -> None:
    import time

    time.sleep(_REFRESH_SECONDS)


COMMANDS = {
    "stats": Command(
        "stats [FLAGS] [CONTAINER...]",
        stats,
        (
            switch("all", "a", "Show stopped containers as well"),
            list_format(),
            switch("no-trunc", "", "Print ids in full"),
            switch("no-stream", "", "Print one table and end"),
        ),
        completions=("running",),
    )
}
