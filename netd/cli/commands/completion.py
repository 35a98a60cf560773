"""Shell completion: the scripts for the shells, and the verb ``__complete`` that they call.

``netctl __complete WORD... LAST`` prints one candidate per line, followed by a tab and a description if it has one.
``:file`` and ``:dir`` request the shell's own completion of paths.  It prints no error messages, because they would
appear in the command line that is being edited.
"""

from __future__ import annotations

from netd.cli.errors import Fault, UsageFault
from netd.cli.index import ALIASES, GROUPS, VERBS, find
from netd.cli.missing_objects import SOURCES, containers
from netd.cli.parse.flags import Command, Flag
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def script(session: Session, options: Options) -> int:
    from netd.cli.output.completion_scripts import SCRIPTS

    shell = options.args[0]
    if shell not in SCRIPTS:
        raise Fault(f"unsupported shell '{shell}': use {', '.join(SCRIPTS)}")
    print_line(SCRIPTS[shell].strip())
    return 0


def complete(session: Session, options: Options) -> int:
    *words, last = options.args or [""]
    try:
        for candidate in candidates(session, words, last):
            print_line(candidate)
    except (Fault, OSError):
        return 1
    return 0


def candidates(session: Session, words: list[str], last: str) -> list[str]:
    """Return the completions of *last* after *words*.  Raises Fault if they come from a daemon that does not answer."""
    from netd.cli.main import parse_global_options

    try:
        global_options = parse_global_options(words)
    except UsageFault:
        return [":dir"]
    session = global_options.session if global_options.options.given("run-dir") else session
    verb = global_options.options.args
    if verb[:1] == ["compose"]:
        from netd.cli.compose.global_flags import FLAGS

        pending, rest, _ = _scan_words(verb[1:], FLAGS, True)
        if pending is not None:
            return _flag_values(session, pending, last)
        if not rest and last.startswith("-"):
            return _complete_flags(session, FLAGS, last)
        session.compose_flags, verb = verb[1 : len(verb) - len(rest)], ["compose", *rest]
    return _complete_verb(session, verb, last)


def _complete_verb(session: Session, words: list[str], last: str) -> list[str]:
    from netd.cli.main import GLOBAL, load

    name, rest = find(words)
    if not name:
        return _complete_verbs(words, last, GLOBAL)
    command = load(name)
    flags = (*command.flags, *GLOBAL)
    pending, args, flags_over = _scan_words(rest, flags, command.flags_first)
    if pending is not None:
        return _flag_values(session, pending, last)
    if last.startswith("-") and not flags_over:
        return _complete_flags(session, flags, last)
    kind = _completion_kind(command, len(args))
    if kind == "published":
        return [port for port in _published_ports(session, args[0]) if port.startswith(last) and port not in args]
    return _complete_values(session, kind, last)


def _complete_verbs(words: Sequence[str], last: str, flags: Iterable[Flag]) -> list[str]:
    if last.startswith("-"):
        return (
            [f"--{flag.name}\t{flag.help}" for flag in flags if f"--{flag.name}".startswith(last)] if not words else []
        )
    found = {}
    for name in (*VERBS, *ALIASES):
        parts = name.split(" ")
        if parts[:-1] == list(words) and not name.startswith("__"):
            found[parts[-1]] = VERBS[ALIASES.get(name, name)][1]
    if not words:
        found |= GROUPS
    return [f"{name}\t{summary}" for name, summary in found.items() if name.startswith(last)]


def _scan_words(words: Sequence[str], flags: Sequence[Flag], flags_first: bool) -> tuple[Flag | None, list[str], bool]:
    """Return the flag that takes the next word, the arguments, and whether no more flags are accepted."""
    pending: Flag | None = None
    args: list[str] = []
    over = False
    for word in words:
        if pending is not None:
            pending = None
        elif over or not word.startswith("-") or word == "-":
            args.append(word)
            over = over or flags_first
        elif word == "--":
            over = True
        else:
            pending = _pending_flag(word, flags)
    return pending, args, over


def _pending_flag(word: str, flags: Sequence[Flag]) -> Flag | None:
    """Return the flag at the end of *word* that takes the next word as its value."""
    if "=" in word:
        return None
    for flag in flags:
        if flag.kind == "switch":
            continue
        if word.startswith("--"):
            if word[2:] in (flag.name, *flag.aliases):
                return flag
        elif word[-1] == flag.short and all(_is_switch(letter, flags) for letter in word[1:-1]):
            return flag
    return None


def _is_switch(letter: str, flags: Sequence[Flag]) -> bool:
    return any(flag.short == letter and flag.kind == "switch" for flag in flags)


def _complete_flags(session: Session, flags: Sequence[Flag], last: str) -> list[str]:
    name, equals, value = last.partition("=")
    if equals:
        for flag in flags:
            if name[2:] in (flag.name, *flag.aliases):
                return [f"{name}={found}" for found in _flag_values(session, flag, value) if found[:1] != ":"]
        return []
    return [f"--{flag.name}\t{flag.help}" for flag in flags if f"--{flag.name}".startswith(last)]


def _flag_values(session: Session, flag: Flag, last: str) -> list[str]:
    return _filters(session, flag, last) if flag.keys else _complete_values(session, flag.values, last)


def _completion_kind(command: Command, args: int) -> str:
    if not command.completions or (command.max_args is not None and args >= command.max_args):
        return ""
    return command.completions[min(args, len(command.completions) - 1)]


def _complete_values(session: Session, kind: str, last: str) -> list[str]:
    """Return the values of *kind* that begin with *last*."""
    if kind in ("file", "dir"):
        return [f":{kind}"]
    if kind == "volume" and last[:1] in ("/", ".", "~"):
        return [":file"]
    if kind.startswith("words:"):
        found: Iterable[str] = kind.removeprefix("words:").split(" ")
    else:
        found = [name for source in _SOURCES.get(kind, ()) for name in source(session)]
    return [value for value in found if value.startswith(last)]


def _filters(session: Session, flag: Flag, last: str) -> list[str]:
    """Return the keys of ``key=value`` that begin with *last*, or after ``=`` the values of the key."""
    key, equals, value = last.partition("=")
    if not equals:
        return [f"{name}=" for name in flag.keys if name.startswith(last)]
    return [f"{key}={found}" for found in _complete_values(session, flag.keys.get(key, ""), value)]


def _published_ports(session: Session, container: str) -> list[str]:
    """Return the published ports of a container in the form that ``port rm`` takes."""
    from netd.cli.commands.ps import host_port

    found = session.engine.get(f"/containers/{container}/json")["NetworkSettings"]["Ports"] or {}
    words = []
    for port, bindings in sorted(found.items()):
        for binding in bindings or ():
            outside = binding["HostPort"]
            if binding["HostIp"] not in ("", "0.0.0.0", "::"):
                outside = host_port(binding["HostIp"], outside)
            words.append(f"{outside}:{port.removesuffix('/tcp')}")
    return list(dict.fromkeys(words))


def _port_verbs(_: Session) -> list[str]:
    return ["add", "ls", "rm"]


def _drivers(kind: str) -> Callable[[Session], list[str]]:
    def names(session: Session) -> list[str]:
        return list((session.engine.get("/info").get("Plugins") or {}).get(kind) or ())

    return names


def _services(session: Session) -> list[str]:
    """Return the services of the compose files; no daemon is asked."""
    module = __import__("netd.cli.compose.service_names", fromlist=["service_names"])
    found: list[str] = module.service_names(session.compose_flags)
    return found


_SOURCES: dict[str, tuple[Callable[[Session], list[str]], ...]] = {
    **SOURCES,
    "running": (containers("running", "paused", "restarting"),),
    "stopped": (containers("created", "exited"),),
    "service": (_services,),
    "port": (_port_verbs, containers("running", "paused", "restarting")),
    "network-driver": (_drivers("Network"),),
    "volume-driver": (_drivers("Volume"),),
    "log-driver": (_drivers("Log"),),
}

COMMANDS = {
    "completion": Command(
        "completion bash|zsh|fish", script, min_args=1, max_args=1, completions=("words:bash zsh fish",)
    ),
    "__complete": Command("__complete WORD...", complete),
}
