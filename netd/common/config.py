"""Settings of the daemons.  The command line takes precedence over the configuration file, the file over the defaults.

An unknown key in the file is an error that suggests the most similar known key.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import tomllib
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from netd.common.errors import BadRequest

FIREWALLS = ("auto", "nftables", "iptables")
LEVELS = ("debug", "info", "warning", "error")
HOST_FIREWALL = ("ignore", "respect")
USERNS = ("none", "remap", "auto")
_MAY_BE_ZERO = ("connection_budget",)
_CHOICES = {"log_level": LEVELS, "firewall": FIREWALLS, "host_firewall": HOST_FIREWALL, "userns": USERNS}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; both daemons read the same file."""

    state_dir: Path = Path("/var/lib/netd")
    run_dir: Path = Path("/run/netd")
    log_level: str = "info"
    group: str = "netd"
    """The group whose members may connect to the sockets."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    storage_driver: str = "overlay2"
    userns: str = "none"
    """User namespaces of containers: none, one range of ids for all (remap), or a range for each (auto)."""
    userns_range: str = ""
    """``START:COUNT`` of the host's ids; empty: the entry of ``netd`` in /etc/subuid and /etc/subgid."""
    plugin_dirs: tuple[str, ...] = field(
        default=("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins")
    )
    """Directories searched for plugins: NAME.sock, NAME.spec, NAME.json."""
    plugin_timeout: int = 15
    """Seconds within which a plugin must answer."""
    default_address_pools: tuple[str, ...] = ()
    """``"10.10.0.0/16 24"``, …: pools for automatically assigned subnets, each with their prefix length."""
    avoid: tuple[str, ...] = ()
    """Subnets that are never assigned automatically."""
    firewall: str = "auto"
    """The firewall backend: nftables, iptables, or auto for the first of them that works."""
    dns: tuple[str, ...] = field(default=())
    """Name servers of containers without name servers of their own; empty: the host's."""
    host_firewall: str = "ignore"
    """``respect``: external traffic to published ports must first pass the host's own input rules."""
    connection_budget: int | None = None
    """Tracked connections of a container beyond which its new connections are dropped; 0: no limit.

    Default: a quarter of ``net.netfilter.nf_conntrack_max``, and at least 16,384.
    """
    dns_domains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name servers by domain, subdomains included, queried from the host; the longest matching domain applies."""
    discard_unknown: bool = False
    """Set by the flag only: this start deletes objects for which a damaged store has no records."""


def load(program: str, description: str, argv: list[str] | None = None) -> Settings:
    """Return the settings from the command line and the configuration file.  Raises BadRequest."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (default /etc/netd/netd.toml)")
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="state that must survive a reboot (default /var/lib/netd)"
    )
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="sockets and namespaces (default /run/netd)")
    parser.add_argument("--log-level", choices=LEVELS, help="default info")
    parser.add_argument(
        "--discard-unknown",
        action="store_true",
        default=None,
        help="for one start after damage to the store: delete the objects of which the store has no record",
    )
    flags = parser.parse_args(argv)
    path = flags.config or Path("/etc/netd/netd.toml")
    given = {name: value for name, value in vars(flags).items() if value is not None and name != "config"}
    settings = replace(_read(path, required=flags.config is not None), **given)
    return replace(settings, state_dir=settings.state_dir.absolute(), run_dir=settings.run_dir.absolute())


def log_to_stderr(level: str) -> None:
    """Log to standard error, without timestamps: journald adds them."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")


def _read(path: Path, required: bool) -> Settings:
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise BadRequest(f"the configuration file {path} does not exist") from None
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadRequest(f"the configuration file {path} cannot be read: {error}") from error
    known = {setting.name: setting.type for setting in fields(Settings) if setting.type != "bool"}
    return Settings(**{key: _value(path, key, value, known) for key, value in found.items()})


def _value(path: Path, key: str, value: object, known: dict[str, Any]) -> Any:
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        raise BadRequest(f"{path}: unknown setting {key}" + (f"; did you mean {near[0]}?" if near else ""))
    wanted = str(known[key])
    if wanted.startswith("dict"):
        return _domains(path, key, value)
    if wanted.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadRequest(f"{path}: {key} must be a list of strings")
        return tuple(value)
    if wanted.startswith("int"):
        least = 0 if key in _MAY_BE_ZERO else 1
        if type(value) is not int or value < least:
            raise BadRequest(f"{path}: {key} must be a whole number of {least} or more")
        return value
    if not isinstance(value, str):
        raise BadRequest(f"{path}: {key} must be a string")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise BadRequest(f"{path}: {key} must be one of {', '.join(_CHOICES[key])}")
    return Path(value) if wanted == "Path" else value


def _domains(path: Path, key: str, value: object) -> dict[str, tuple[str, ...]]:
    """Parse a table of name servers by domain."""
    if not isinstance(value, dict):
        raise BadRequest(f'{path}: {key} must be a table, as {key} = {{ "corp.example" = ["192.0.2.53"] }}')
    for domain, servers in value.items():
        labels = domain.removesuffix(".").split(".")
        if not all(0 < len(label) < 64 and label.split() == [label] for label in labels):
            raise BadRequest(f"{path}: {key}: {domain!r} is no domain")
        if not isinstance(servers, list) or not servers or not all(_is_address(server) for server in servers):
            raise BadRequest(f"{path}: {key}: {domain} must have a list of name servers' IP addresses")
    return {domain: tuple(servers) for domain, servers in value.items()}


def _is_address(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False
