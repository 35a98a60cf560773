"""The clients that verbs use, and the output functions that they share."""

from __future__ import annotations

import sys

from netd.cli.errors import ApiFault, for_terminal
from netd.cli.transport.http import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from netd.cli.transport.http import HttpRequest

_BATCH_SIZE = 40


class Session:
    """The clients of one call.

    ``engine`` connects to netd-runtime, ``netd`` to netd; ``networks`` connects to netd-runtime and falls back to netd.
    """

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.compose_flags: list[str] = []
        """The words between ``compose`` and its verb in the command line that is completed."""
        self.engine = Client("netd-runtime", f"{run_dir}/docker.sock")
        self.netd = Client("netd", f"{run_dir}/netd.sock")
        self.networks = Client("netd-runtime", f"{run_dir}/docker.sock", f"{run_dir}/netd.sock")


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def warn(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"netctl: {for_terminal(line)}\n")
    sys.stderr.flush()


def request_each(
    names: Sequence[str],
    send: Callable[[str], HttpRequest],
    show: Callable[[str, Any], None] | None = None,
    *,
    tolerant: bool = False,
) -> int:
    """Send one request per name, up to 40 concurrently, and print each name, or call *show* with each body, in order.

    Error responses are printed to standard error, and the remaining names are still processed.  Return the exit code: 1
    after an error response, else 0; with *tolerant*, that an object is missing is printed, but is no error.
    """
    code = 0
    for begin in range(0, len(names), _BATCH_SIZE):
        batch = [(name, send(name)) for name in names[begin : begin + _BATCH_SIZE]]
        for name, request in batch:
            try:
                body = request.response().json()
            except ApiFault as fault:
                warn(fault.explained())
                code = code if tolerant and fault.status == 404 else 1
            else:
                show(name, body) if show else print_line(name)
    return code


def print_json(value: object, indent: int | None = None) -> None:
    """Print *value* as one JSON document."""
    from json import dumps

    print_line(dumps(value, indent=indent, ensure_ascii=False))
