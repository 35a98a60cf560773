"""The command line of the daemons.  Flags take precedence over the configuration file, the file over the defaults."""

from __future__ import annotations

import argparse
import grp
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from netd.common.addresses import tcp_address
from netd.common.config import LEVELS, LOG_FORMATS, Settings, definitions
from netd.common.errors import BadRequest
from netd.settings import toml_values
from netd.settings.documentation import toml_text
from netd.version import VERSION

Check = Callable[[Settings], None]
"""Raises BadRequest for settings that the daemon cannot start with."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each that is not a default comes from."""

    settings: Settings
    sources: Mapping[str, str]
    argv: Sequence[str]


def load(program: str, description: str, argv: Sequence[str] | None = None, check: Check | None = None) -> Loaded:
    """Return the settings from the command line and the configuration file.  Raises BadRequest.

    Ends the process for ``--version``, ``--help``, ``--check-config`` and ``--print-config``.
    """
    argv = sys.argv[1:] if argv is None else argv
    flags = vars(parser(program, description).parse_args(argv))
    path = flags.pop("config") or toml_values.USUAL_PATH
    checking, printing = flags.pop("check_config"), flags.pop("print_config")
    found = toml_values.read(path, required=path != toml_values.USUAL_PATH)
    given = {name: value for name, value in flags.items() if value is not None}
    values = {**found, **given}
    for name in ("state_dir", "run_dir"):
        if name in values:
            values[name] = values[name].absolute()
    settings = Settings(**values)
    sources = {**dict.fromkeys(found, str(path)), **dict.fromkeys(given, "command line")}
    _check_addresses(settings, sources)
    if checking or printing:
        _check(settings, sources, check)
        valid = "is valid" if path.exists() else "does not exist, all settings have their defaults"
        sys.stdout.write(toml_text(_values(settings), sources) if printing else f"{program}: {path} {valid}\n")
        raise SystemExit(0)
    return Loaded(settings, sources, argv)


def reload(program: str, loaded: Loaded) -> tuple[Settings, list[str], list[str]]:
    """Read the configuration again.  Returns settings, names that changed, and those of them that need a restart.

    The returned settings have the new values of settings that can change at run time only.  Raises BadRequest.
    """
    fresh = load(program, "", loaded.argv).settings
    before, after, known = _values(loaded.settings), _values(fresh), definitions()
    changed = [name for name in known if before[name] != after[name]]
    applied = {name: after[name] for name in changed if known[name].reload}
    return Settings(**{**before, **applied}), changed, [name for name in changed if name not in applied]


def _values(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in definitions()}


def _check_addresses(settings: Settings, sources: Mapping[str, str]) -> None:
    for name in ("metrics_address", "runtime_metrics_address", "ui_address"):
        if text := getattr(settings, name):
            try:
                host, _ = tcp_address(text)
            except ValueError as error:
                raise BadRequest(f"{sources[name]}: {name}: {error}") from None
            if name == "ui_address" and not ip_address(host).is_loopback:
                raise BadRequest(
                    f"{sources[name]}: {name}: {host} is not a loopback address, and the page has no authentication:"
                    " use 127.0.0.1 or [::1], and ssh -L to see the page from another machine"
                )


def _check(settings: Settings, sources: Mapping[str, str], check: Check | None) -> None:
    """Raise BadRequest for values that the file's types allow and the daemon refuses."""
    if "group" in sources and settings.group:
        try:
            grp.getgrnam(settings.group)
        except KeyError:
            fault = f"there is no group {settings.group}; create it with groupadd {settings.group}"
            raise BadRequest(f"{sources['group']}: group: {fault}") from None
    if check is not None:
        check(settings)


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a daemon's flags; ``None`` stands for flags that are not given."""
    built = argparse.ArgumentParser(prog=program, description=description)
    add = built.add_argument
    add("--version", action="version", version=f"{program} {VERSION}")
    add("--config", type=Path, metavar="FILE", help=f"configuration file (default {toml_values.USUAL_PATH})")
    add("--check-config", action="store_true", help="check the configuration and exit; exit code 1 if it is invalid")
    add("--print-config", action="store_true", help="print all settings with their sources, and exit")
    add("--state-dir", type=Path, metavar="DIR", help="state that must survive a reboot (default /var/lib/netd)")
    add("--run-dir", type=Path, metavar="DIR", help="sockets and namespaces (default /run/netd)")
    add("--log-level", choices=LEVELS, help="default info")
    add("--log-format", choices=LOG_FORMATS, help="format of messages on standard error (default text)")
    add(
        "--discard-unknown",
        action="store_true",
        default=None,
        help="for one start after damage to the store: delete the objects of which the store has no record",
    )
    return built
