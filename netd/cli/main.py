"""From the words on the command line to the verb that they name, and from what happens to an exit code.

Only this module writes errors, and nothing below it ends the process.
"""

from __future__ import annotations

import os
import sys

from netd.cli.errors import Fault, Left, UsageFault
from netd.cli.index import GROUPS, VERBS, find
from netd.cli.parse.flags import Command, Options, parse, switch, text
from netd.cli.session import Session

GLOBAL = (
    text("run-dir", "", "DIR", "Where the daemons' sockets are (NETD_RUN_DIR, /run/netd)", values="dir"),
    switch("help", "", "Show help"),
)
_FIRST = (*GLOBAL, switch("version", "v", "Show the version"), switch("help", "h", "Show help"))


def main(words: list[str] | None = None) -> int:
    """Carry out one command line and return its exit code."""
    _fill_standard_streams()
    try:
        code = _run(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
    except Left as left:
        code = left.code
    except Fault as fault:
        code = _complain(fault.message, fault.code)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = _mute()
    except OSError as error:
        reason = error.strerror or str(error)
        code = _complain(f"{error.filename}: {reason}" if error.filename else f"cannot go on: {reason}", 1)
    return code


def load(name: str) -> Command:
    """Return the verb *name* of VERBS; imports its module."""
    module = __import__(f"netd.cli.commands.{VERBS[name][0]}", fromlist=["COMMANDS"])
    found: Command = module.COMMANDS[name]
    return found


class Opening:
    """What stands before the verb, and the session that it makes."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.session = _session(options)


def opening(words: list[str]) -> Opening:
    """Read the flags before the verb; the verb and all after it are the plain words."""
    return Opening(parse(words, _FIRST, flags_first=True))


def _run(words: list[str]) -> int:
    options = opening(words).options
    if options.on("version"):
        options.args = ["version", *options.args]
    name, rest = find(options.args)
    if not name:
        return _no_verb(options)
    command = load(name)
    if name == "__complete":
        return command.run(_session(options), Options({}, {}, rest))
    return _call(name, command, rest, options)


def _call(name: str, command: Command, words: list[str], before: Options) -> int:
    taken = {flag.short for flag in command.flags}
    helping = () if "h" in taken else (switch("help", "h", "Show help"),)
    try:
        options = parse(words, (*GLOBAL, *helping, *command.flags), command.flags_first)
        if options.on("help") or before.on("help"):
            return _help(name, command)
        _count(name, command, len(options.args))
        return command.run(_session(options if options.given("run-dir") else before), options)
    except UsageFault as fault:
        hint = "" if fault.message.endswith("?)") else f" (see: netctl {name} --help)"
        raise UsageFault(fault.message + hint) from None


def _session(options: Options) -> Session:
    return Session(options.text("run-dir") or os.environ.get("NETD_RUN_DIR") or "/run/netd")


def _count(name: str, command: Command, given: int) -> None:
    least, most = command.least, command.most
    if given >= least and (most is None or given <= most):
        return
    if most == 0:
        wanted = "takes no arguments"
    elif least == most:
        wanted = f"needs exactly {least} argument{'s' * (least != 1)}"
    else:
        bound, number = ("at least", least) if given < least else ("at most", most)
        wanted = f"needs {bound} {number} argument{'s' * (number != 1)}"
    raise Fault(f"{name} {wanted}: netctl {command.usage} (see: netctl {name} --help)")


def _help(name: str, command: Command) -> int:
    from netd.cli import help

    sys.stdout.write(help.verb(command, VERBS[name][1]))
    return 0


def _no_verb(options: Options) -> int:
    from netd.cli import help

    words = options.args
    if not words or words == ["help"]:
        sys.stdout.write(help.overview())
        return 0
    if words[0] == "help":
        return _run([*words[1:], "--help"])
    if words[0] in GROUPS and (len(words) == 1 or words[1] in ("--help", "-h", "help")):
        sys.stdout.write(help.group(words[0]))
        return 0
    raise Fault(help.unknown(words))


def _fill_standard_streams() -> None:
    """Open what our caller has closed: the numbers 0 to 2 would go to sockets, and be written to."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _complain(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _mute()  # or what could not be written would be tried again at the end
    sys.stderr.write(f"netctl: {message}\n")
    return code


def _mute() -> int:
    """Whoever read our output has left: keep the interpreter from saying so when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141


if __name__ == "__main__":
    sys.exit(main())
