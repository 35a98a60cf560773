"""Help texts, generated from the index and the flags of a verb.  Pure."""

from __future__ import annotations

from netd.cli.index import ALIASES, CONTAINER_VERBS, GROUPS, VERBS
from netd.cli.parse.flags import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SYSTEM = (
    "events",
    "system backup",
    "info",
    "version",
    "reload",
    "graph",
    "doctor",
    "system df",
    "system prune",
    "builder prune",
    "completion",
)
_REGISTRIES = ("login", "logout", "search")
_SHORTCUTS = ("build", "history", "images", "import", "load", "pull", "push", "rmi", "save", "tag")


def overview() -> str:
    parts = [
        "Usage:  netctl [--run-dir DIR] VERB [FLAGS] [ARGUMENTS]\n\nContainers, networks, volumes and images of netd.\n"
    ]
    parts.append(_section("Containers", ((verb, _summary(verb)) for verb in VERBS if _is_container_verb(verb))))
    for name, title in (
        ("port", "Published ports"),
        ("network", "Networks"),
        ("volume", "Volumes"),
        ("image", "Images"),
    ):
        parts.append(_section(title, _members(name)))
    parts.append(_section("Projects", (("compose", f"{GROUPS['compose']} (see: netctl compose --help)"),)))
    parts.append(_section("Registries", ((verb, _summary(verb)) for verb in _REGISTRIES)))
    parts.append(_section("Shortcuts", ((name, f"netctl {ALIASES[name]}") for name in _SHORTCUTS)))
    parts.append(_section("Other", ((verb, _summary(verb)) for verb in _SYSTEM)))
    parts.append(
        "\nThe daemons' sockets are in /run/netd; --run-dir or NETD_RUN_DIR selects another folder.\n"
        "Run 'netctl VERB --help' for the flags of a verb.\n"
    )
    return "".join(parts)


def group(name: str) -> str:
    members = list(_members(name))
    if name == "container":
        members += [(f"container {verb}", _summary(verb)) for verb in CONTAINER_VERBS]
    if name == "compose":
        from netd.cli.compose.global_flags import FLAGS

        usage = "netctl compose [FLAGS] VERB [FLAGS OF THE VERB] [ARGUMENTS]"
        return f"Usage:  {usage}\n\n{GROUPS[name]}\n" + _section("Verbs", members) + _flags(FLAGS)
    return f"Usage:  netctl {name} VERB [FLAGS] [ARGUMENTS]\n\n{GROUPS[name]}\n" + _section("Verbs", members)


def verb(command: Command, summary: str) -> str:
    return f"Usage:  netctl {command.usage}\n\n{summary}\n" + _flags(command.flags)


def unknown(words: list[str]) -> str:
    """Return the error message for *words* that do not start with a verb, with the closest verb if there is one."""
    from netd.cli.left_out import COMMANDS
    from netd.nearest_names import nearest

    for length in (2, 1):
        if reason := COMMANDS.get(" ".join(words[:length])):
            return f"netctl has no '{' '.join(words[:length])}': {reason}"
    all_verbs = [found for found in (*VERBS, *ALIASES) if not found.startswith("__")]
    if words[0] in GROUPS:
        head = f"{words[0]} "
        near = nearest(words[1], {found.removeprefix(head) for found in all_verbs if found.startswith(head)})
        name = f"{head}{words[1]}"
    else:
        head, name = "", words[0]
        near = nearest(name, {found.partition(" ")[0] for found in all_verbs})
    hint = f"; did you mean 'netctl {head}{near}'?" if near else f"; 'netctl {head}--help' lists all verbs"
    return f"unknown verb '{name}'{hint}"


def _is_container_verb(verb: str) -> bool:
    return verb in ("inspect", "container prune") or verb in CONTAINER_VERBS


def _summary(verb: str) -> str:
    return VERBS[verb][1]


def _members(name: str) -> Iterable[tuple[str, str]]:
    return ((verb, _summary(verb)) for verb in VERBS if verb.startswith(f"{name} "))


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    return f"\n{title}:\n" + "".join(f"  {name:<20} {summary}\n" for name, summary in rows)


def _flags(flags: Iterable[Flag]) -> str:
    rows = [(_left(flag), flag_text(flag)) for flag in sorted(flags, key=lambda flag: flag.name)]
    if not rows:
        return ""
    width = max(len(left) for left, _ in rows)
    return "\nFlags:\n" + "".join(f"  {left:<{width}}   {right}\n" for left, right in rows)


def _left(flag: Flag) -> str:
    letter = f"-{flag.short}, " if flag.short else "    "
    return f"{letter}--{flag.name} {flag.metavar}".rstrip()


def flag_text(flag: Flag) -> str:
    """Return the text of a flag, with its other names and whether it may be repeated."""
    aliases = f" (also --{', --'.join(flag.aliases)})" if flag.aliases else ""
    return flag.help + (" (may be repeated)" if flag.kind == "many" else "") + aliases
