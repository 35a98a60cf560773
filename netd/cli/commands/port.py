"""``port``: lists, publishes and unpublishes ports of a container."""

from __future__ import annotations

from netd.cli.commands.ps import host_port
from netd.cli.errors import Fault, UsageFault
from netd.cli.parse.flags import Command, many
from netd.cli.parse.port_flags import bindings, publish
from netd.cli.session import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

    Json = dict[str, Any]


def port(session: Session, options: Options) -> int:
    """List all published ports, or the bindings of ``PORT[/PROTOCOL]``.  Raises Fault if that port is not published."""
    name, *selected = options.args
    details = session.engine.get(f"/containers/{name}/json")
    published = _published(details["NetworkSettings"]["Ports"])
    if not selected:
        _print_bindings(published)
        return 0
    key = selected[0].lower() if "/" in selected[0] else f"{selected[0]}/tcp"
    if key not in published:
        raise Fault(f"{name} does not publish port '{key}'; 'netctl port {name}' lists its published ports")
    for binding in published[key]:
        print_line(_host_address(binding))
    return 0


def add(session: Session, options: Options) -> int:
    """Print the bindings of the new ports; nothing for a container that is not running."""
    name, requested = options.args[0], _bindings(options)
    response = session.engine.post(f"/netd/v1/containers/{name}/ports", {"PortBindings": requested})
    _print_bindings({key: bound for key, bound in _published(response["Ports"]).items() if key in requested})
    return 0


def remove(session: Session, options: Options) -> int:
    path = f"/netd/v1/containers/{options.args[0]}/ports"
    session.engine.call("DELETE", path, body={"PortBindings": _bindings(options)}).json()
    return 0


def _bindings(options: Options) -> dict[str, list[Json]]:
    """Return the bindings of the words after the container's name."""
    pairs = []
    for word in options.args[1:]:
        try:
            pairs += publish(word, options.many("allow"))
        except ValueError as error:
            raise UsageFault(f'invalid port "{word}": {error}') from None
    return bindings(pairs)


def _published(ports: Json) -> Json:
    return {key: bound for key, bound in ports.items() if bound}


def _print_bindings(published: Json) -> None:
    for key in sorted(published, key=_order):
        for binding in published[key]:
            print_line(f"{key} -> {_host_address(binding)}")


def _host_address(binding: Json) -> str:
    address = host_port(binding["HostIp"], binding["HostPort"])
    allow = ", ".join(binding.get("Allow") or ())
    return f"{address} for {allow}" if allow else address


def _order(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number), protocol


_ALLOW = many("allow", "", "CIDR", "Accept connections to the ports only from this network")

COMMANDS = {
    "port": Command("port CONTAINER [PORT[/PROTOCOL]]", port, min_args=1, max_args=2, completions=("port", "none")),
    "port ls": Command(
        "port ls CONTAINER [PORT[/PROTOCOL]]", port, min_args=1, max_args=2, completions=("running", "none")
    ),
    "port add": Command(
        "port add CONTAINER [ADDRESS:][HOST:]PORT[/PROTOCOL]... [--allow CIDR]",
        add,
        (_ALLOW,),
        min_args=2,
        completions=("container", "none"),
    ),
    "port rm": Command(
        "port rm CONTAINER [ADDRESS:][HOST:]PORT[/PROTOCOL]...",
        remove,
        min_args=2,
        completions=("container", "published"),
    ),
}
