"""The ``network`` verbs.  They also work with netd alone, where no runtime runs."""

from __future__ import annotations

import sys

from netd.cli.commands.inspect import FORMAT, one_kind
from netd.cli.output.columns import short, table
from netd.cli.parse.common_flags import confirmed, filters, pairs, wants_json
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.parse.network_flags import settings
from netd.cli.session import dump, each, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_PRUNE = "WARNING! This will remove all networks not used by at least one container."


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
        "Labels": pairs(options.many("label")),
    }
    for name, field in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if options.given(name):
            body[field] = options.on(name)
    found = session.networks.post("/networks/create", body)
    if found.get("Warning"):
        sys.stderr.write(f"netctl: warning: {found['Warning']}\n")
    say(found["Id"])
    return 0


def ls(session: Session, options: Options) -> int:
    found = session.networks.get("/networks", (("filters", filters(options)),))
    whole = options.on("no-trunc")
    if wants_json(options):
        dump(found)
        return 0
    found.sort(key=lambda network: network["Name"])
    rows = [(n["Id"] if whole else short(n["Id"]), n["Name"], n["Driver"], n["Scope"]) for n in found]
    if options.on("quiet"):
        for row in rows:
            say(row[0])
    else:
        sys.stdout.write(table(("NETWORK ID", "NAME", "DRIVER", "SCOPE"), rows))
    return 0


def remove(session: Session, options: Options) -> int:
    return each(options.args, lambda name: session.networks.ask("DELETE", f"/networks/{name}"))


def prune(session: Session, options: Options) -> int:
    if not confirmed(options, _PRUNE):
        return 0
    found = session.networks.post("/networks/prune", query=(("filters", filters(options)),))
    removed = found["NetworksDeleted"] or []
    if removed:
        say("Deleted Networks:")
    for name in removed:
        say(name)
    return 0


def connect(session: Session, options: Options) -> int:
    network, container = options.args
    endpoint = settings(
        {"ip": options.text("ip"), "ip6": options.text("ip6")},
        aliases=options.many("alias"),
        links=options.many("link"),
        local=options.many("link-local-ip"),
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


COMMANDS = {
    "network create": Command(
        "network create [FLAGS] NETWORK",
        create,
        (
            text("driver", "d", "NAME", "Driver of the network (bridge)", also=("drive",), values="words:bridge"),
            many("subnet", "", "CIDR", "Subnet, such as 172.18.0.0/16"),
            many("gateway", "", "ADDRESS", "Gateway in the subnet; its first address by default"),
            many("ip-range", "", "CIDR", "Part of the subnet that containers get addresses from"),
            many("aux-address", "", "NAME=ADDRESS", "Address in the subnet to leave alone"),
            switch("internal", "", "Let nothing out of the network and nothing in"),
            many("label", "", "KEY[=VALUE]", "Label"),
            many("opt", "o", "KEY=VALUE", "Option of the driver"),
            switch("attachable", "", "Shown only; every network can be attached to"),
            switch("ipv4", "", "Give IPv4 addresses (true)"),
            switch("ipv6", "", "Give IPv6 addresses as well"),
            text("ipam-driver", "", "NAME", "Driver of the addresses (default)"),
            many("ipam-opt", "", "KEY=VALUE", "Option of that driver"),
        ),
        least=1,
        most=1,
        offers=("none",),
    ),
    "network ls": Command(
        "network ls [FLAGS]",
        ls,
        (
            many("filter", "f", "KEY=VALUE", "Show only what fits: name, id, label, driver, type, dangling"),
            text("format", "", "json|table", "How to print", values="words:json table"),
            switch("no-trunc", "", "Print ids in full"),
            switch("quiet", "q", "Print ids only"),
        ),
        most=0,
    ),
    "network inspect": Command(
        "network inspect [FLAGS] NETWORK [NETWORK...]", one_kind("network"), (FORMAT,), least=1, offers=("network",)
    ),
    "network rm": Command("network rm NETWORK [NETWORK...]", remove, least=1, offers=("network",)),
    "network prune": Command(
        "network prune [FLAGS]",
        prune,
        (
            many("filter", "", "KEY=VALUE", "Remove only what fits: until, label, label!"),
            switch("force", "f", "Do not ask"),
        ),
        most=0,
    ),
    "network connect": Command(
        "network connect [FLAGS] NETWORK CONTAINER",
        connect,
        (
            text("ip", "", "ADDRESS", "IPv4 address on this network"),
            text("ip6", "", "ADDRESS", "IPv6 address on this network"),
            many("alias", "", "NAME", "Further name of the container on this network"),
            many("link", "", "CONTAINER[:ALIAS]", "Know another container by a further name", values="container"),
            many("link-local-ip", "", "ADDRESS", "Link-local address"),
            many("driver-opt", "", "KEY=VALUE", "Option of the driver"),
            text("gw-priority", "", "NUMBER", "The network with the highest one gives the default route"),
        ),
        least=2,
        most=2,
        offers=("network", "container"),
    ),
    "network disconnect": Command(
        "network disconnect [FLAGS] NETWORK CONTAINER",
        disconnect,
        (switch("force", "f", "Also where the container is gone"),),
        least=2,
        most=2,
        offers=("network", "container"),
    ),
}
