"""What a verb gets to work with: the daemons' sockets, and the few things that every verb does alike."""

from __future__ import annotations

import sys

from netd.cli.errors import ApiFault, Fault
from netd.cli.http import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from netd.cli.flags import Options
    from netd.cli.http import Asked

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


def each(names: Sequence[str], ask: Callable[[str], Asked], show: Callable[[str, Any], None] | None = None) -> int:
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


def filters(options: Options) -> str:
    """Return the ``filters`` of a query from ``--filter key=value``, "" when there is none."""
    found: dict[str, dict[str, bool]] = {}
    for word in options.many("filter"):
        key, equals, value = word.partition("=")
        if not equals:
            raise options.refuse("filter", word, "say key=value")
        found.setdefault(key.strip().lower(), {})[value.strip()] = True
    if not found:
        return ""
    from json import dumps

    return dumps(found)


def wants_json(options: Options) -> bool:
    """Whether ``--format json`` was given.  Raises UsageFault for a format that is neither json nor table."""
    value = options.text("format", "table")
    if value not in ("json", "table"):
        raise options.refuse("format", value, "say json or table")
    return value == "json"


def dump(value: object, indent: int | None = None) -> None:
    """Print *value* as one JSON document."""
    from json import dumps

    say(dumps(value, indent=indent, ensure_ascii=False))


def confirmed(options: Options, question: str) -> bool:
    """Ask the person unless ``--force`` was given; the end of the input is a no."""
    if options.on("force"):
        return True
    sys.stdout.write(f"{question}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes")


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` words as a mapping; a key alone gets an empty value, a later one wins."""
    split = (word.partition("=") for word in words)
    return {key: value for key, _, value in split}


def daemon_gone(what: str) -> Fault:
    return Fault(f"the daemon went away; {what}", 125)
