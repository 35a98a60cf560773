"""The definitions of all settings: type, default, meaning.  ``netd/settings`` reads them from files and flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

FIREWALLS = ("auto", "nftables", "iptables")
LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
HOST_FORWARD = ("open", "leave")
DNS_LOW_LATENCY = ("auto", "off")
HOST_FIREWALL = ("ignore", "respect")
DIRECT_DELIVERY = ("auto", "on", "off")
USERNS = ("none", "remap", "auto")
_KEY = "definition"


@dataclass(frozen=True, slots=True)
class Definition:
    """What the documentation says of a setting, and the bounds of its values."""

    meaning: str
    """Sentences; the unit is named for numbers."""
    example: str
    """A value as written in TOML."""
    section: str
    choices: tuple[str, ...] = ()
    least: int = 1
    """The smallest value of a number."""
    most: int = 0
    """The largest value of a number; 0: no limit."""
    addresses: bool = False
    """The value is a list of IP addresses."""
    reload: bool = False
    """A change takes effect when the daemon reloads its configuration, without a restart."""


def _setting(default: Any, meaning: str, *, example: str, section: str, **more: Any) -> Any:
    metadata = {_KEY: Definition(meaning, example, section, **more)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; both daemons read the same file."""

    state_dir: Path = _setting(
        Path("/var/lib/netd"),
        "Folder of what must survive a reboot: records, images, volumes. The daemons create it with mode 0710.",
        example='"/srv/netd"',
        section="Folders and access",
    )
    run_dir: Path = _setting(
        Path("/run/netd"),
        "Folder of sockets and of the containers' network namespaces; a reboot may empty it.",
        example='"/run/netd"',
        section="Folders and access",
    )
    group: str = _setting(
        "netd",
        "The group whose members may connect to the sockets. Access to netd-runtime's socket is equivalent to root."
        " Without a group of this name only root may connect.",
        example='"docker"',
        section="Folders and access",
    )
    log_level: str = _setting(
        "info",
        "The least severe messages to log. `debug` logs each request with its duration and status.",
        example='"debug"',
        section="Logs and metrics",
        choices=LEVELS,
        reload=True,
    )
    log_format: str = _setting(
        "text",
        "`json` writes each message as a JSON object in a line. Under systemd, messages go to the journal with their"
        " fields in either case.",
        example='"json"',
        section="Logs and metrics",
        choices=LOG_FORMATS,
    )
    metrics_address: str = _setting(
        "",
        "TCP address at which netd serves `/metrics` for Prometheus; empty: only on its socket. There is no"
        " authentication.",
        example='"127.0.0.1:9750"',
        section="Logs and metrics",
    )
    runtime_metrics_address: str = _setting(
        "",
        "The same for netd-runtime.",
        example='"127.0.0.1:9751"',
        section="Logs and metrics",
    )
    ui_address: str = _setting(
        "",
        "TCP address, of loopback only, at which netd serves the page `/netd/v1/ui` and its data, and nothing else;"
        " empty: only on its socket. There is no authentication: all users of the machine can see the networks.",
        example='"127.0.0.1:9752"',
        section="Logs and metrics",
    )
    default_address_pools: tuple[str, ...] = _setting(
        (),
        "Pools from which subnets are assigned to networks that name none, each with the prefix length of the subnets;"
        " empty: Docker's pools, then /24s of 10.208.0.0/12, 10.224.0.0/12 and 198.18.0.0/15.",
        example='["10.10.0.0/16 24", "fd00:10::/48 64"]',
        section="Addresses",
    )
    avoid: tuple[str, ...] = _setting(
        (),
        "Subnets that are never assigned automatically, for example those of a VPN.",
        example='["10.20.0.0/16"]',
        section="Addresses",
    )
    firewall: str = _setting(
        "auto",
        "The firewall backend. `auto` is nftables if a trial transaction succeeds, else iptables on the legacy tables.",
        example='"nftables"',
        section="Firewall",
        choices=FIREWALLS,
    )
    host_firewall: str = _setting(
        "ignore",
        "With `respect`, external traffic to published ports must first pass the host's own input rules.",
        example='"respect"',
        section="Firewall",
        choices=HOST_FIREWALL,
    )
    host_forward: str = _setting(
        "open",
        "With `open`, netd adds one rule at the head of a forward chain of another program that would drop what netd's"
        " rules admit (ufw as installed, a policy of drop), and deletes it when it is not needed. With `leave`, it does"
        " not; `netctl doctor` prints the command that permits the traffic.",
        example='"leave"',
        section="Firewall",
        choices=HOST_FORWARD,
    )
    accept_fwmark: int = _setting(
        0,
        "Bits of the packet mark that netd sets on forwarded packets which its rules admit, before the rules of other"
        " programs at the forward hook, which can match them. 0: none.",
        example="0x100",
        section="Firewall",
        least=0,
        most=0xFFFFFFFF,
    )
    direct_delivery: str = _setting(
        "auto",
        "With `auto`, containers of one network send each other frames without the bridge where the kernel can (6.7 or"
        " later) and no rule of another program may see these frames there: no nftables chain of the family `bridge`,"
        " and with br_netfilter (`net.bridge.bridge-nf-call-iptables=1`) no rule of iptables or nftables that may match"
        " them. `on`: also where there are such rules, which then do not see them. `off`: all frames go through the"
        " bridge.",
        example='"off"',
        section="Firewall",
        choices=DIRECT_DELIVERY,
    )
    connection_budget: int | None = _setting(
        None,
        "Tracked connections of a container beyond which its new connections are dropped; 0: no limit. Default: a"
        " quarter of `net.netfilter.nf_conntrack_max`, and at least 16,384.",
        example="50000",
        section="Firewall",
        least=0,
    )
    resolv_conf: Path = _setting(
        Path("/etc/resolv.conf"),
        "The host's resolver configuration, from which containers get name servers and search domains. Changes are"
        " followed.",
        example='"/run/systemd/resolve/resolv.conf"',
        section="Names",
    )
    dns: tuple[str, ...] = _setting(
        (),
        "Name servers of containers without name servers of their own, queried from the container; empty: the host's.",
        example='["192.0.2.53"]',
        section="Names",
        addresses=True,
        reload=True,
    )
    dns_domains: dict[str, tuple[str, ...]] = _setting(
        {},
        "Name servers by domain, subdomains included, queried from the host; the longest matching domain applies.",
        example='{ "corp.example" = ["192.0.2.53"] }',
        section="Names",
        reload=True,
    )
    dns_low_latency: str = _setting(
        "auto",
        "With `auto`, netd-dns keeps all processors out of idle states (`/dev/cpu_dma_latency`) while queries arrive"
        " within a millisecond of each other and for 5 ms afterwards, unless a battery is discharging: an answer takes"
        " a fraction of the time, and the processors use the power, and on a virtual machine the host's time, of busy"
        " ones meanwhile. With `off`, it does not.",
        example='"off"',
        section="Names",
        choices=DNS_LOW_LATENCY,
        reload=True,
    )
    plugin_dirs: tuple[str, ...] = _setting(
        ("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"),
        "Folders that are searched for plugins: NAME.sock, NAME.spec, NAME.json.",
        example='["/run/docker/plugins"]',
        section="Plugins",
    )
    plugin_timeout: int = _setting(
        15, "Seconds within which a plugin must answer a call.", example="30", section="Plugins"
    )
    insecure_registries: tuple[str, ...] = _setting(
        (),
        "Registries that may be reached by plain HTTP, or by TLS without verification: `HOST`, `HOST:PORT`, or a"
        " network that must hold all addresses of a registry's name. Loopback addresses always may.",
        example='["registry.lan:5000", "10.0.0.0/8"]',
        section="Registries",
    )
    registry_mirrors: tuple[str, ...] = _setting(
        (),
        "Mirrors of docker.io, asked in this order before it, without its credentials.",
        example='["https://mirror.example"]',
        section="Registries",
    )
    registry_certs: tuple[str, ...] = _setting(
        ("/etc/netd/certs.d", "/etc/docker/certs.d"),
        "Folders with a folder `HOST` or `HOST:PORT` for each registry: certificates of authorities (`*.crt`) and"
        " client certificates (`NAME.cert` with `NAME.key`). The first folder that exists for a registry applies; with"
        " an authority in it, the registry is reached by verified TLS only.",
        example='["/etc/netd/certs.d"]',
        section="Registries",
    )
    storage_driver: str = _setting(
        "overlay2",
        "The storage driver of new containers: `overlay2` (also `overlay`), `vfs` (a copy of the image per container)"
        " or `btrfs` (snapshots; the state directory must be on btrfs). Existing containers keep theirs.",
        example='"vfs"',
        section="Containers",
    )
    userns: str = _setting(
        "none",
        "User namespaces of containers: none, one range of ids for all (`remap`), or a range for each (`auto`).",
        example='"auto"',
        section="Containers",
        choices=USERNS,
    )
    userns_range: str = _setting(
        "",
        "`START:COUNT` of the host's ids for user namespaces; empty: the entry of `netd` in /etc/subuid and"
        " /etc/subgid.",
        example='"1000000:6553600"',
        section="Containers",
    )
    discard_unknown: bool = False
    """Set by the flag only: this start deletes objects for which a damaged store has no records."""


def definitions() -> dict[str, Definition]:
    """Return the definitions of the settings of the file, by name, in the order of the documentation."""
    return {setting.name: setting.metadata[_KEY] for setting in fields(Settings) if _KEY in setting.metadata}


def types() -> dict[str, str]:
    """Return the annotated types of the settings by name."""
    return {setting.name: str(setting.type) for setting in fields(Settings)}


def defaults() -> dict[str, Any]:
    """Return the default values by name."""
    usual = Settings()
    return {name: getattr(usual, name) for name in definitions()}


def sections() -> Sequence[str]:
    return tuple(dict.fromkeys(found.section for found in definitions().values()))
