"""Entry point of netctl: dispatches the command line to a verb and converts exceptions into messages and exit codes.

No other module prints exceptions or ends the process.
"""

from __future__ import annotations

import os
import sys

from netd.cli.errors import Fault, SessionInterrupted, UnknownFlag, UsageFault, for_terminal
from netd.cli.index import GROUPS, VERBS, find
from netd.cli.parse.flags import Command, Flag, Options, parse, switch, text
from netd.cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_ENDS_LATER = frozenset({"atexit", "threading"})
"""Modules by which others leave work for the end of the process."""
GLOBAL = (
    text("run-dir", "", "DIR", "Folder of the daemons' sockets (NETD_RUN_DIR, /run/netd)", values="dir"),
    switch("help", "", "Show help"),
)
_GLOBAL_FLAGS = (*GLOBAL, switch("version", "v", "Show the version"), switch("help", "h", "Show help"))


def main(words: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    _fill_standard_streams()
    try:
        code = _run(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
    except SessionInterrupted as interrupted:
        code = interrupted.code
    except Fault as fault:
        code = _print_error(fault.explained(), fault.code)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = _discard_stdout()
    except OSError as error:
        reason = error.strerror or str(error)
        code = _print_error(f"{error.filename}: {reason}" if error.filename else reason, 1)
    return code


def run() -> NoReturn:
    """Run the command line of this process and end the process.

    Without the interpreter's finalization, which takes a tenth of a short call, unless a module could depend on it.
    """
    code = main()
    if not _ENDS_LATER & sys.modules.keys():
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            sys.exit(code)  # the interpreter reports it
        os._exit(code)
    sys.exit(code)


def load(name: str) -> Command:
    """Import the module of the verb *name*, a key of VERBS, and return its command."""
    package = "netd.cli" if name.startswith("compose ") else "netd.cli.commands"
    module = __import__(f"{package}.{VERBS[name][0]}", fromlist=["COMMANDS"])
    found: Command = module.COMMANDS[name]
    return found


class GlobalOptions:
    """The flags before the verb, and the session that they select."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.session = _session(options)


def parse_global_options(words: list[str]) -> GlobalOptions:
    """Parse the flags before the verb; the verb and all words after it become the arguments."""
    try:
        return GlobalOptions(parse(words, _GLOBAL_FLAGS, flags_first=True))
    except UnknownFlag as fault:
        raise _left_out("", fault) or fault from None


def _run(words: list[str]) -> int:
    options = parse_global_options(words).options
    if options.on("version"):
        options.args = ["version", *options.args]
    if options.args[:1] == ["compose"]:
        from netd.cli.compose.global_flags import split

        options.outer, options.args = split(options.args)
    name, rest = find(options.args)
    if not name:
        return _no_verb(options)
    command = load(name)
    if name == "__complete":
        return command.run(_session(options), Options({}, {}, rest))
    return _call(name, command, rest, options)


def _call(name: str, command: Command, words: list[str], global_options: Options) -> int:
    taken = {flag.short for flag in command.flags}
    more: tuple[Flag, ...] = () if "h" in taken else (switch("help", "h", "Show help"),)
    if global_options.outer is not None:
        from netd.cli.compose.global_flags import AFTER_VERB

        more += AFTER_VERB
    try:
        options = parse(words, (*GLOBAL, *more, *command.flags), command.flags_first)
        if options.on("help") or global_options.on("help"):
            return _help(name, command)
        _check_argument_count(name, command, len(options.args))
        options.outer = global_options.outer
        return command.run(_session(options if options.given("run-dir") else global_options), options)
    except UnknownFlag as fault:
        raise _left_out(name, fault) or UsageFault(fault.message + _hint(name, fault)) from None
    except UsageFault as fault:
        raise UsageFault(fault.message + _hint(name, fault)) from None


def _hint(name: str, fault: UsageFault) -> str:
    return "" if fault.message.endswith("?)") else f" (see: netctl {name} --help)"


def _left_out(name: str, fault: UnknownFlag) -> UsageFault | None:
    """Return the fault for a flag of Docker's command that netctl does not have; None for any other flag."""
    from netd.cli.left_out import FLAGS

    reason = FLAGS.get((name, fault.flag))
    return UsageFault(f"netctl has no flag --{fault.flag}{' for ' if name else ''}{name}: {reason}") if reason else None


def _session(options: Options) -> Session:
    session = Session(options.text("run-dir") or os.environ.get("NETD_RUN_DIR") or "/run/netd")

    def explain(message: str) -> str:
        from netd.cli.missing_objects import with_nearest_name

        return with_nearest_name(session, message)

    session.engine.explain = session.networks.explain = explain
    return session


def _check_argument_count(name: str, command: Command, given: int) -> None:
    min_args, max_args = command.min_args, command.max_args
    if given >= min_args and (max_args is None or given <= max_args):
        return
    if max_args == 0:
        expected = "takes no arguments"
    elif min_args == max_args:
        expected = f"needs exactly {min_args} argument{'s' * (min_args != 1)}"
    else:
        bound, number = ("at least", min_args) if given < min_args else ("at most", max_args)
        expected = f"needs {bound} {number} argument{'s' * (number != 1)}"
    raise Fault(f"{name} {expected}: netctl {command.usage} (see: netctl {name} --help)")


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
    """Open closed standard streams on /dev/null; else a socket could get a number from 0 to 2 and receive output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _print_error(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()  # the interpreter would otherwise flush again at exit, and fail again
    sys.stderr.write(f"netctl: {for_terminal(message)}\n")
    return code


def _discard_stdout() -> int:
    """Redirect standard output to /dev/null, so that the flush at exit does not report the broken pipe again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141


if __name__ == "__main__":
    run()
