"""Manual pages in roff (man(7)), from the verbs and flags of netctl, the flags of the daemons and the settings."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from netd.__main__ import DESCRIPTION as NETD  # noqa: E402
from netd.cli import help as cli_help  # noqa: E402
from netd.cli.index import ALIASES, GROUPS, VERBS  # noqa: E402
from netd.cli.main import GLOBAL, load  # noqa: E402
from netd.cli.parse.flags import Command, Flag  # noqa: E402
from netd.common.config import Definition, defaults, definitions, sections  # noqa: E402
from netd.settings.command_line import parser  # noqa: E402
from netd.settings.documentation import toml_value  # noqa: E402
from netd.version import VERSION  # noqa: E402
from runtime.__main__ import DESCRIPTION as RUNTIME  # noqa: E402

_SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
_FILES = (
    ("/etc/netd/netd.toml", "Settings of both daemons; see netd.toml(5)."),
    ("/run/netd", "Sockets: netd.sock and docker.sock."),
    ("/var/lib/netd", "Records, images, containers and volumes."),
)
_SIGNALS = (
    ("SIGHUP", "Read the configuration again; settings that need a restart are named in the log."),
    ("SIGTERM, SIGINT", "End the daemon.  Containers continue to run."),
)
_EXIT_CODES = (
    ("0", "Success."),
    ("1", "A daemon answered with an error, or does not answer."),
    ("125", "The command line is invalid, or a container could not be created."),
    ("126, 127", "The program of a container could not be executed, or was not found."),
    ("130", "Interrupted by Ctrl-C."),
)


def escaped(text: str) -> str:
    """Return *text* for a line of roff: special characters are escaped, and the first is never a request."""
    shown = "".join(_SPECIAL.get(c, c if " " <= c < "\x7f" else f"\\[u{ord(c):04X}]") for c in text)
    return f"\\&{shown}" if shown.startswith(".") else shown


def pages() -> dict[str, str]:
    """Return the text of each page by its file name, such as ``man1/netctl.1``."""
    found = {"man1/netctl.1": _netctl(), "man5/netd.toml.5": _settings()}
    for program, description in (("netd", NETD), ("netd-runtime", RUNTIME)):
        found[f"man8/{program}.8"] = _daemon(program, description)
    verbs = [name for name in VERBS if not name.startswith("__")]
    for name in verbs:
        found[f"man1/{_page_name(name)}.1"] = _verb(name, load(name))
    for alias, name in ALIASES.items():
        found.setdefault(f"man1/{_page_name(alias)}.1", f".so man1/{_page_name(name)}.1\n")
    return found


def _page_name(verb: str) -> str:
    return "-".join(("netctl", *verb.split()))


def _head(name: str, section: int, summary: str) -> Iterator[str]:
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    date = time.strftime("%Y-%m-%d", moment)
    yield f'.TH "{escaped(name.upper())}" {section} "{date}" "netd {escaped(VERSION)}" "netd manual"'
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(summary)}"


def _entries(title: str, entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a section of terms, which are already roff, with their plain texts."""
    yield f".SH {title}"
    for term, text in entries:
        yield from (".TP", term, escaped(text))


def _bold(text: str) -> str:
    return f"\\fB{escaped(text)}\\fR"


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


# netctl


def _netctl() -> str:
    lines = [*_head("netctl", 1, "manage containers, networks, volumes and images of netd"), ".SH SYNOPSIS"]
    lines += [
        f"{_bold('netctl')} [\\fB\\-\\-run\\-dir\\fR \\fIDIR\\fR] \\fIVERB\\fR [\\fIFLAGS\\fR] [\\fIARGUMENTS\\fR]"
    ]
    lines += [".SH DESCRIPTION", escaped("netctl sends the requests of its verbs to netd and netd-runtime.")]
    lines.append(
        escaped("Verbs, flags and output are those of Docker's command; the verbs of containers also work after")
    )
    lines.append(escaped("'container'.  Each verb has a page of its own, such as netctl-run(1)."))
    lines += _entries("OPTIONS", map(_flag, GLOBAL))
    lines += _entries("VERBS", ((_bold(name), summary) for name, (_, summary) in VERBS.items() if name[:2] != "__"))
    lines += _entries("GROUPS", ((_bold(name), summary) for name, summary in sorted(GROUPS.items())))
    lines += [*_environment(), *_exit_codes(), *_see_also(["netd(8)", "netd-runtime(8)", "netd.toml(5)"])]
    return _joined(lines)


def _verb(name: str, command: Command) -> str:
    summary = VERBS[name][1]
    lines = [*_head(_page_name(name), 1, summary[0].lower() + summary[1:]), ".SH SYNOPSIS"]
    lines.append(f"{_bold(f'netctl {name}')}{escaped(command.usage.removeprefix(name))}")
    lines += [".SH DESCRIPTION", escaped(f"{summary}.")]
    if aliases := sorted(alias for alias, target in ALIASES.items() if target == name):
        lines += [".PP", f"Also: {', '.join(_bold(f'netctl {alias}') for alias in aliases)}."]
    flags = sorted(command.flags, key=lambda flag: flag.name)
    lines += _entries("OPTIONS", [*map(_flag, flags), (_bold("--help"), "Show help.")])
    lines += [*_environment(), *_exit_codes()]
    others = [other for other in VERBS if " " in name and other != name and other.startswith(f"{name.split()[0]} ")]
    lines += _see_also(["netctl(1)", *(f"{_page_name(other)}(1)" for other in others)])
    return _joined(lines)


def _flag(flag: Flag) -> tuple[str, str]:
    names = [*([f"-{flag.short}"] if flag.short else []), f"--{flag.name}"]
    value = f" \\fI{escaped(flag.metavar)}\\fR" if flag.metavar else ""
    return ", ".join(map(_bold, names)) + value, cli_help.flag_text(flag)


def _environment() -> Iterator[str]:
    return _entries("ENVIRONMENT", [(_bold("NETD_RUN_DIR"), "Folder of the daemons' sockets (default /run/netd).")])


def _exit_codes() -> Iterator[str]:
    yield from _entries("EXIT STATUS", ((_bold(code), meaning) for code, meaning in _EXIT_CODES))
    yield ".PP"
    yield escaped("run, exec and start --attach end with the exit code of the container's program.")


def _see_also(names: Iterable[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    yield ", ".join(f"{_bold(name.partition('(')[0])}({name.partition('(')[2]}" for name in names)


# The daemons


def _daemon(program: str, description: str) -> str:
    lines = [*_head(program, 8, description), ".SH SYNOPSIS", f"{_bold(program)} [\\fIOPTIONS\\fR]"]
    lines += [".SH DESCRIPTION", escaped(f"{program} serves {description}.")]
    lines.append(
        escaped("It needs root.  Settings come from the command line, the configuration file and the defaults.")
    )
    options = []
    for action in parser(program, description)._actions:
        choices = "|".join(map(str, action.choices)) if action.choices else ""
        value = choices or action.metavar or (action.dest.upper() if action.nargs is None else "")
        shown = ", ".join(map(_bold, action.option_strings)) + (f" \\fI{escaped(str(value))}\\fR" if value else "")
        options.append((shown, (action.help or "").replace("%(prog)s", program)))
    lines += _entries("OPTIONS", options)
    lines += _entries("SIGNALS", ((_bold(name), meaning) for name, meaning in _SIGNALS))
    lines += _entries("FILES", ((_bold(name), meaning) for name, meaning in _FILES))
    others = {"netd": "netd-runtime(8)", "netd-runtime": "netd(8)"}
    return _joined([*lines, *_see_also([others[program], "netctl(1)", "netd.toml(5)"])])


def _settings() -> str:
    lines = [*_head("netd.toml", 5, "settings of netd and netd-runtime"), ".SH DESCRIPTION"]
    lines.append(escaped("Both daemons read this file at their start, in TOML; a missing file means defaults."))
    lines.append(escaped("'netd --check-config' checks it.  Settings marked 'reload' change with 'netctl reload'."))
    for section in sections():
        entries = (_setting(name, found) for name, found in definitions().items() if found.section == section)
        lines += _entries(escaped(section.upper()), entries)
    return _joined([*lines, *_see_also(["netd(8)", "netd-runtime(8)"])])


def _setting(name: str, found: Definition) -> tuple[str, str]:
    default = defaults()[name]
    shown = "not set" if default is None else toml_value(default)
    choices = f"  One of {', '.join(found.choices)}." if found.choices else ""
    reload = "  Reload." if found.reload else ""
    meaning = found.meaning.replace("`", "")
    return _bold(name), f"{meaning}{choices}  Default: {shown}.  Example: {name} = {found.example}.{reload}"


def write(folder: Path) -> int:
    """Write all pages below *folder*, and return their number."""
    found = pages()
    for name, text in found.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="ascii")
    return len(found)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tools/man-pages FOLDER")
    print(f"man-pages: {write(Path(sys.argv[1]))} pages in {sys.argv[1]}")
