"""The ``network`` verbs.  They work without netd-runtime as well, through netd's socket."""

from __future__ import annotations

from netd.cli.commands.inspect import inspect_kind
from netd.cli.output.columns import short_id
from netd.cli.parse.common_flags import confirmed, filters, labels, list_format, pairs, selected_filters, show_list
from netd.cli.parse.filter_flags import NETWORK_PRUNE, NETWORKS, filter_flag
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.parse.network_flags import settings
from netd.cli.session import print_line, request_each, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.output.list_output import Row
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]

_HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Subnets": "SUBNETS",
    "Containers": "CONTAINERS",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
_COLUMNS = ("ID", "Name", "Driver", "Scope", "Subnets", "Containers")
_PRUNE = "WARNING! This will remove all custom networks not used by at least one container."


def create(session: Session, options: Options) -> int:
    from netd.cli.parse.subnet_flags import pools

    body: dict[str, Any] = {
        "Name": options.args[0],
        "Driver": options.text("driver", "bridge"),
        "IPAM": {
            "Driver": options.text("ipam-driver", "default"),
            "Options": pairs(options.many("ipam-opt")),
            "Config": pools(options),
        },
        "Internal": options.on("internal"),
        "Attachable": options.on("attachable"),
        "Options": pairs(options.many("opt")),
        "Labels": labels(options),
    }
    if source := options.text("config-from"):
        body["ConfigFrom"] = {"Network": source}
    if scope := options.text("scope"):
        body["Scope"] = scope
    switches = (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6"), ("ingress", "Ingress"), ("config-only", "ConfigOnly"))
    body |= {field: options.on(name) for name, field in switches if options.given(name)}
    response = session.networks.post("/networks/create", body)
    if response.get("Warning"):
        warn(f"warning: {response['Warning']}")
    print_line(response["Id"])
    return 0


def ls(session: Session, options: Options) -> int:
    networks = session.networks.get("/networks", (("filters", filters(options)), ("usage", "1")))
    networks.sort(key=lambda network: network["Name"])
    rows = [_row(network, options.on("no-trunc")) for network in networks]
    return show_list(options, _HEADERS, _COLUMNS, rows, "ID")


def _row(network: Json, full: bool) -> Row:
    from netd.cli.output.list_output import labels

    pools = (network.get("IPAM") or {}).get("Config") or []
    return {
        "ID": network["Id"] if full else short_id(network["Id"]),
        "Name": network["Name"],
        "Driver": network["Driver"],
        "Scope": network["Scope"],
        "Subnets": ", ".join(pool["Subnet"] for pool in pools if pool.get("Subnet")),
        "Containers": str(len(network.get("Containers") or {})),
        "IPv4": str(network.get("EnableIPv4", True)).lower(),
        "IPv6": str(network["EnableIPv6"]).lower(),
        "Internal": str(network["Internal"]).lower(),
        "CreatedAt": network["Created"],
        **labels(network.get("Labels")),
    }


def remove(session: Session, options: Options) -> int:
    tolerant = options.on("force")
    return request_each(
        options.args, lambda name: session.networks.send("DELETE", f"/networks/{name}"), tolerant=tolerant
    )


def prune(session: Session, options: Options) -> int:
    from netd.cli.commands.prune.reports import networks, print_reports

    selected = selected_filters(options)
    if not confirmed(options, _PRUNE):
        return 0
    return print_reports([networks(session, selected)], total=False)


def connect(session: Session, options: Options) -> int:
    network, container = options.args
    endpoint = settings(
        {"ip": options.text("ip"), "ip6": options.text("ip6")},
        aliases=options.many("alias"),
        links=options.many("link"),
        link_local=options.many("link-local-ip"),
        options=pairs(options.many("driver-opt")),
    )
    if options.given("gw-priority"):
        endpoint["GwPriority"] = options.number("gw-priority")
    session.networks.post(f"/networks/{network}/connect", {"Container": container, "EndpointConfig": endpoint})
    return 0


def disconnect(session: Session, options: Options) -> int:
    network, container = options.args
    body = {"Container": container, "Force": options.on("force")}
    session.networks.post(f"/networks/{network}/disconnect", body)
    return 0


_DETAILS = text(
    "format", "f", "FORMAT", "pretty (for people), json, or a template: '{{.Name}}'", values="words:pretty json"
)

COMMANDS = {
    "network create": Command(
        "network create [FLAGS] NETWORK",
        create,
        (
            text("driver", "d", "NAME", "Driver of the network (bridge)", aliases=("drive",), values="network-driver"),
            many("subnet", "", "CIDR", "Subnet, such as 172.18.0.0/16"),
            many("gateway", "", "ADDRESS", "Gateway in the subnet (its first address)"),
            many("ip-range", "", "CIDR", "Part of the subnet from which addresses are allocated"),
            many("aux-address", "", "NAME=ADDRESS", "Address in the subnet that is never allocated"),
            switch("internal", "", "Isolate the network from outside"),
            many("label", "", "KEY[=VALUE]", "Label"),
            many("opt", "o", "KEY=VALUE", "Option of the driver"),
            switch("attachable", "", "Accepted for compatibility; every network is attachable"),
            text("config-from", "", "NETWORK", "Take the settings from this network", values="network"),
            switch("config-only", "", "Create settings for --config-from, not a network"),
            switch("ingress", "", "Refused: swarm mode is not part of netd"),
            text("scope", "", "SCOPE", "local; swarm is refused", values="words:local"),
            switch("ipv4", "", "Enable IPv4 (true)"),
            switch("ipv6", "", "Enable IPv6"),
            text("ipam-driver", "", "NAME", "IPAM driver (default)"),
            many("ipam-opt", "", "KEY=VALUE", "Option of the IPAM driver"),
        ),
        min_args=1,
        max_args=1,
        completions=("none",),
    ),
    "network ls": Command(
        "network ls [FLAGS]",
        ls,
        (
            filter_flag(NETWORKS),
            list_format(),
            switch("no-trunc", "", "Print ids in full"),
            switch("quiet", "q", "Print ids only"),
        ),
        max_args=0,
    ),
    "network inspect": Command(
        "network inspect [FLAGS] NETWORK [NETWORK...]",
        inspect_kind("network", "verbose"),
        (_DETAILS, switch("verbose", "v", "Accepted for compatibility; networks of one host have no more to show")),
        min_args=1,
        completions=("network",),
    ),
    "network rm": Command(
        "network rm [FLAGS] NETWORK [NETWORK...]",
        remove,
        (switch("force", "f", "A missing network is no error"),),
        min_args=1,
        completions=("network",),
    ),
    "network prune": Command(
        "network prune [FLAGS]",
        prune,
        (
            filter_flag(NETWORK_PRUNE, short="", what="Filter the networks to remove"),
            switch("force", "f", "Do not ask for confirmation"),
        ),
        max_args=0,
    ),
    "network connect": Command(
        "network connect [FLAGS] NETWORK CONTAINER",
        connect,
        (
            text("ip", "", "ADDRESS", "IPv4 address on this network"),
            text("ip6", "", "ADDRESS", "IPv6 address on this network"),
            many("alias", "", "NAME", "Alias of the container on this network"),
            many(
                "link",
                "",
                "CONTAINER[:ALIAS]",
                "Link to another container, optionally with an alias",
                values="container",
            ),
            many("link-local-ip", "", "ADDRESS", "Link-local address"),
            many("driver-opt", "", "KEY=VALUE", "Option of the driver"),
            text(
                "gw-priority", "", "NUMBER", "Gateway priority; the network with the highest provides the default route"
            ),
        ),
        min_args=2,
        max_args=2,
        completions=("network", "container"),
    ),
    "network disconnect": Command(
        "network disconnect [FLAGS] NETWORK CONTAINER",
        disconnect,
        (switch("force", "f", "Disconnect even if the container no longer exists"),),
        min_args=2,
        max_args=2,
        completions=("network", "container"),
    ),
}
