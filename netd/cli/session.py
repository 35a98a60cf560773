"""What a verb gets to work with: the daemons' sockets, and the few things that every verb does alike."""

from __future__ import annotations

import sys

from netd.cli.errors import ApiFault
from netd.cli.transport.http import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from netd.cli.transport.http import HttpRequest

_AT_ONCE = 40


class Session:
    """One call of netctl.  ``engine`` speaks to the runtime; ``networks`` to netd itself where no runtime runs."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.engine = Client("netd-runtime", f"{run_dir}/docker.sock")
        self.networks = Client("netd-runtime", f"{run_dir}/docker.sock", f"{run_dir}/netd.sock")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def warn(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"netctl: {line}\n")
    sys.stderr.flush()


def each(
    names: Sequence[str], ask: Callable[[str], HttpRequest], show: Callable[[str, Any], None] | None = None
) -> int:
    """Ask for every name, many at once, and print the name (or what *show* makes of the answer) in order.

    A refusal is told and the others go on; the exit code is 1 then.
    """
    code = 0
    for begin in range(0, len(names), _AT_ONCE):
        batch = [(name, ask(name)) for name in names[begin : begin + _AT_ONCE]]
        for name, asked in batch:
            try:
                found = asked.answer().json()
            except ApiFault as fault:
                warn(fault.message)
                code = 1
            else:
                show(name, found) if show else say(name)
    return code


def dump(value: object, indent: int | None = None) -> None:
    """Print *value* as one JSON document."""
    from json import dumps

    say(dumps(value, indent=indent, ensure_ascii=False))
